"""``python -m bench canonical`` writes what bench/README.md documents."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bench.accuracy import read_stsb
from bench.peak_memory import peak_memory_mb
from bench.sentence_transformers_peer import SentenceTransformersEncoder
from zenso import models
from zenso.canonical import CanonicalEncoder
from zenso.errors import InputError

ROOT = Path(__file__).parents[2]
STSB = ROOT.parent / "shared" / "data" / "stsb"
MODEL, LARGE_MODEL = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
TEXTS = 5
PAIRS = [
    (5.0, "A man is cutting up a cucumber.", "A man is slicing a cucumber."),
    (3.0, "A girl is styling her hair.", "A girl is brushing her hair."),
    (1.0, 'A "boat" is on the sea.', "A man is on a horse."),
    (0.0, "The stock market fell.", "A cat sleeps."),
]


def documented(section):
    """Keys of the tables under a heading of bench/README.md."""
    text = (ROOT / "bench" / "README.md").read_text("utf-8")
    body = re.split(r"^## ", text.partition(f"\n## {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| (`[^|]*) \|", body, flags=re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([a-z0-9_]+)`", row)}


def bench(*arguments):
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


def write_pairs(folder, lines):
    folder.mkdir(exist_ok=True)
    (folder / "stsb_test.tsv").write_text("score\tsentence1\tsentence2\n" + "".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    stsb = write_pairs(folder / "stsb", ["\t".join(map(str, pair)) for pair in PAIRS])
    path = folder / "new" / "canonical.json"
    process = bench("canonical", "--quick", "--texts", TEXTS, "--stsb", stsb, "--json", path)
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


@pytest.mark.parametrize("suffix", ["", "_2_threads"])
@pytest.mark.parametrize("engine", ["wasm", "native"])
def test_a_ratio_is_that_of_the_rates(results, engine, suffix):
    ours, theirs = (results[f"{name}_tokens_per_s{suffix}"] for name in (engine, "onnx"))
    assert results[f"ratio_{engine}_vs_onnx{suffix}"] == pytest.approx(ours / theirs)
    assert results[f"onnx_batch{suffix}"] in {1, 4, 8, 16, 32}


def test_the_large_model_is_measured_where_it_is_cached(done, results):
    cached = models.locate(LARGE_MODEL) is not None
    found = {key: value for key, value in results.items() if "mpnet" in key}
    assert {value is not None for value in found.values()} == {cached}
    assert (f"{LARGE_MODEL} is left out: " in done[0].stderr) != cached
    if cached:
        assert found["texts_mpnet"] == 2
        assert found["min_cosine_vs_float64_mpnet"] > 0.9999


def test_similarities_that_people_order_alike_correlate(results):
    assert results["stsb_pairs"] == len(PAIRS)
    assert results["stsb_spearman_minilm"] == results["stsb_spearman_minilm_float"] == pytest.approx(100)
    assert results["stsb_difference_minilm"] == 0


def test_latency_and_memory_are_those_of_the_model(results):
    assert 0 < results["latency_12_tokens_p50_ms"] <= results["latency_12_tokens_p99_ms"]
    artifact = models.cache_folder(models.lookup(MODEL)) / "model.zenso"
    for key in ("peak_memory_mb", "peak_memory_mb_wasm"):
        assert artifact.stat().st_size / 1e6 < results[key] < 250


def test_without_sentence_transformers_its_keys_are_null_and_the_remedy_is_named(done, results):
    assert {value for key, value in results.items() if "sentence_transformers" in key} == {None}
    assert "sentence-transformers is left out: give --sentence-transformers PYTHON" in done[0].stderr


def test_nothing_tells_where_it_ran(done, results):
    text = json.dumps(results)
    expected = f"python -m bench canonical --quick --texts {TEXTS} --stsb stsb --json canonical.json"
    assert results["command"] == expected
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


def test_the_memory_of_the_starter_does_not_count():
    ballast = b"x" * 600_000_000
    assert peak_memory_mb(MODEL, ["a text"]) < len(ballast) / 1e6


def test_stsb_is_read_as_it_is():
    if not STSB.is_dir():
        pytest.skip("there is no ../shared/data/stsb")
    pairs = read_stsb(STSB, None)
    assert len(pairs.scores) == len(pairs.first) == len(pairs.second) == 1379
    assert (min(pairs.scores), max(pairs.scores)) == (0, 5)
    assert read_stsb(STSB, 3).first == pairs.first[:3]


def test_a_folder_without_stsb_gives_nothing(tmp_path):
    assert read_stsb(tmp_path, None) is None


@pytest.mark.parametrize("line", ["1.0\tone sentence", "high\tone\tother", "1\ta\tb\tc"])
def test_a_file_that_is_not_stsb_is_an_error(tmp_path, line):
    with pytest.raises(InputError, match=r"stsb_test\.tsv is not lines of score"):
        read_stsb(write_pairs(tmp_path, [line]), None)


@pytest.fixture(scope="module")
def peer_python():
    """An interpreter that has sentence-transformers."""
    named = os.environ.get("SENTENCE_TRANSFORMERS_PYTHON")
    if named is None and importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("SENTENCE_TRANSFORMERS_PYTHON names no interpreter that has sentence-transformers")
    return Path(named or sys.executable)


def test_sentence_transformers_gives_the_vectors_of_the_same_model(peer_python):
    texts = [pair[1] for pair in PAIRS] + ["word " * 400]
    canonical = CanonicalEncoder(models.load_artifact(MODEL)).encode(texts).pooled / 32767
    with closing(SentenceTransformersEncoder(peer_python, models.fetch(MODEL), texts, 256)) as peer:
        runs = [peer.encode(batch, threads) for batch, threads in ((1, 1), (2, 2))]
        assert set(peer.versions) == {"sentence_transformers", "torch"}
    for seconds, vectors in runs:
        assert seconds > 0
        assert ((vectors * canonical).sum(axis=1) > 0.9999).all()
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("sentence_transformers") is not None, reason="it is installed here")
def test_a_python_without_sentence_transformers_is_a_clear_error():
    with pytest.raises(InputError, match=r"ended with status 1: ModuleNotFoundError: .*bench/README"):
        SentenceTransformersEncoder(Path(sys.executable), models.fetch(MODEL), ["a text"], 256)


def test_a_python_that_cannot_be_started_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot be started \(No such file"):
        SentenceTransformersEncoder(tmp_path / "python", models.fetch(MODEL), ["a text"], 256)
