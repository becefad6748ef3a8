import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation.small_set import write_set
from zenso.evaluation.measures import MEASURES
from zenso.evaluation.rankings import RANKINGS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(tmp_path):
    return write_set(tmp_path / "small")


def run_bench(name, *arguments):
    command = [sys.executable, "-m", "bench", name, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def documented(section):
    """Keys of a table of bench/README.md."""
    text = (ROOT / "bench" / "README.md").read_text("utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def test_one_set(small, tmp_path):
    file = tmp_path / "out" / "quality.json"
    process = run_bench("quality", "--data", small, "--json", file)
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    assert set(results) == documented("`quality`") | documented("Keys of every measurement")
    assert results["dataset"] == "small"
    assert (results["documents"], results["empty_documents"], results["queries"]) == (5, 1, 4)
    for ranking in RANKINGS:
        uses_words = ranking in ("bm25", "hybrid")  # that these texts and questions hardly share
        assert results[f"{ranking}_ndcg_at_10"] == (pytest.approx(1, abs=0.5) if uses_words else 1)
        assert results[f"{ranking}_recall_at_100"] >= 0.75
        assert results[f"{ranking}_ms_per_query"] > 0
    assert "rerank_ndcg_at_10" in process.stdout
    assert str(tmp_path) not in file.read_text("utf-8")


def test_several_sets(small, tmp_path):
    other = write_set(tmp_path / "other", [("q1", "bread", 1), ("q3", "bread", 1)])
    file = tmp_path / "quality.json"
    process = run_bench("quality", "--data", small, "--data", other, "--json", file, "--quick")
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    assert results["dataset"] == "small, other"
    measured = documented("`quality`") - {"dataset"}
    kinds = ("_over_pooled", "_share_")
    averaged = {key for key in measured if key.endswith((*MEASURES, "ms_per_query")) or any(k in key for k in kinds)}
    expected = {f"{name}_{key}" for name in ("small", "other") for key in measured}
    expected |= {f"average_{key}" for key in averaged} | {"dataset"}
    assert set(results) == expected | documented("Keys of every measurement")
    assert 0 < results["other_codes_ndcg_at_10"] < results["small_codes_ndcg_at_10"]
    for key in averaged:
        if key.endswith(("_low", "_high")):
            continue
        if key.startswith("sentence_transformers_"):  # which nobody asked for
            assert results[f"average_{key}"] is None
            continue
        assert results[f"average_{key}"] == pytest.approx((results[f"small_{key}"] + results[f"other_{key}"]) / 2)


def test_a_folder_of_another_layout_is_named(small, tmp_path):
    (small / "corpus.jsonl").unlink()
    process = run_bench("quality", "--data", small, "--json", tmp_path / "quality.json")
    assert process.returncode == 1
    assert f"{small} has no corpus.jsonl" in process.stderr
    assert "Traceback" not in process.stderr
