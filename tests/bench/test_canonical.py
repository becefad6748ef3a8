"""``python -m bench canonical`` writes what bench/README.md documents."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = 5


def documented(section):
    """Keys of the tables under a heading of bench/README.md."""
    text = (ROOT / "bench" / "README.md").read_text("utf-8")
    body = re.split(r"^## ", text.partition(f"\n## {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| (`[^|]*) \|", body, flags=re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([a-z0-9_]+)`", row)}


def bench(*arguments):
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "new" / "canonical.json"
    process = bench("canonical", "--quick", "--texts", TEXTS, "--json", path)
    assert process.returncode == 0, process.stderr
    return process, path


@pytest.fixture(scope="module")
def results(done):
    return json.loads(done[1].read_text("utf-8"))


def test_keys_are_exactly_those_documented(results):
    assert set(results) == documented("`canonical`") | documented("Keys of every measurement")


def test_values_are_scalars(results):
    assert all(isinstance(value, str | int | float | bool | None) for value in results.values())


def test_results_are_what_the_kernel_promises(results):
    assert results["texts"] == TEXTS
    assert (results["tokens_shortest"], results["tokens_longest"]) == (3, 256)
    assert results["min_cosine_vs_float64"] >= 0.9999
    assert results["identical"] is True
    assert results["float_opcodes"] == results["relaxed_opcodes"] == 0
    assert results["onnx_min_cosine_vs_float64"] > 0.99999
    assert results["ratio"] == pytest.approx(results["tokens_per_s"] / results["onnx_tokens_per_s"])


def test_nothing_tells_where_it_ran(done, results):
    text = json.dumps(results)
    assert results["command"] == f"python -m bench canonical --quick --texts {TEXTS} --json canonical.json"
    assert str(done[1].parent) not in text
    assert str(ROOT) not in text
    assert [path.name for path in done[1].parent.iterdir()] == ["canonical.json"]


def test_the_table_shows_every_key(done, results):
    assert all(key in done[0].stdout for key in results)


@pytest.mark.parametrize("count", [0, 1, 10**9])
def test_a_number_of_texts_that_cannot_be_is_a_one_line_error(tmp_path, count):
    process = bench("canonical", f"--texts={count}", "--json", tmp_path / "out.json")
    assert process.returncode == 1
    assert process.stderr.strip().splitlines()[-1].startswith(f"bench canonical: --texts is {count}; ")
    assert "Traceback" not in process.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_measurement_is_an_error():
    process = bench("unknown", "--json", "out.json")
    assert process.returncode == 2
    assert "canonical" in process.stderr
