import importlib.util
import json

import numpy as np
import pytest

from bench.collection import FLIPPED, Collection, _noisy
from bench.search_peers import recall
from tests.bench.test_quality import documented, run_bench
from tests.evaluation.small_set import write_set
from zenso.zen import load_encoder

missing = [name for name in ("faiss", "usearch") if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module")
def real():
    texts = ["Plants turn sunlight into sugar.", "Stars are balls of plasma.", "Bread is made of flour and water."]
    return Collection(texts, ["a", "a", "b"], load_encoder().encode_documents(texts), 8)


def test_a_short_run(tmp_path):
    data, file, kept = write_set(tmp_path / "small"), tmp_path / "search.json", tmp_path / "embeddings.npz"
    options = ("--quick", "--data", data, "--documents", 2000, "--json", file, "--embeddings", kept)
    for peers in (["--no-peers"], ["--no-peers"] if missing else []):  # the second reads what the first kept
        process = run_bench("search", *options, *peers)
        assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    assert set(results) == documented("`search`") | documented("Keys of every measurement")
    assert (results["documents"], results["real_documents"], results["queries"]) == (2000, 5, 4)
    assert (results["deleted_seen"], results["filtered_seen"], results["filters"]) == (0, 0, 40)
    assert results["recall_at_10"] == 1  # so few documents are all scored
    assert results["stage_scan_ms"] is None
    assert results["stage_codes_ms"] > 0
    assert missing or results["faiss_rabitq_p50_ms"] > 0
    assert str(tmp_path) not in file.read_text("utf-8")


def test_fewer_documents_than_there_are(tmp_path):
    process = run_bench(
        "search", "--data", write_set(tmp_path / "small"), "--documents", 4, "--json", tmp_path / "search.json"
    )
    assert process.returncode != 0
    assert "Traceback" not in process.stderr
    assert "--documents is 4; the sets of --data alone have 5" in process.stderr


def test_copies(real):
    copies = list(real.copies())
    assert [copy for copy, _, _ in copies] == [0, 1, 2]
    assert [len(codes) for _, _, codes in copies] == [3, 3, 2]
    assert np.array_equal(copies[0][1], real.embeddings.vectors)
    assert np.array_equal(copies[0][2], real.embeddings.codes)
    again = list(real.copies())
    assert all(
        np.array_equal(a, b) for one, two in zip(copies, again, strict=True) for a, b in zip(one, two, strict=True)
    )
    assert [real.text(row) for row in (1, 4)] == [real.texts[1], f"{real.texts[1]} (copy 1)"]


def test_frequencies_are_those_of_a_memory(real):
    tokens = np.unique(np.concatenate(real.embeddings.token_sets))
    documents, counts = real.frequencies(tokens)
    held = [sum(token in real.embeddings.token_sets[row % 3] for row in range(8)) for token in tokens]
    assert (documents, counts.tolist()) == (8, held)


def test_noise(real):
    """The share of bits that is said, in slot 0 as in the others, and a slot 0 that is the vector's."""
    vectors, codes = (np.repeat(part, 100, axis=0) for part in (real.embeddings.vectors, real.embeddings.codes))
    turned, changed = _noisy(vectors, codes, np.random.default_rng(1))
    differ = np.unpackbits(changed[:, 4:] ^ codes[:, 4:], axis=1)
    assert differ[:, :384].mean() == pytest.approx(FLIPPED, abs=0.01)
    used = 384 + 128 * int(codes[0, 1])
    assert differ[:100, 384:used].mean() == pytest.approx(FLIPPED, abs=0.01)
    assert not differ[:100, used:].any()
    assert np.array_equal(changed[:, :4], codes[:, :4])
    lengths = np.linalg.norm(turned.astype(float), axis=1)
    assert np.allclose(lengths, 32767, atol=10)
    cosines = (turned.astype(float) * vectors).sum(axis=1) / lengths / np.linalg.norm(vectors.astype(float), axis=1)
    assert np.cos(np.pi * FLIPPED) == pytest.approx(cosines.mean(), abs=0.01)


def test_recall():
    truth = np.arange(20).reshape(2, 10)
    assert recall(truth, truth) == 1
    assert recall(truth[:, ::-1] + 5, truth) == 0.5
