import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.bitdelta import exact, share_found
from bench.bitdelta_texts import read_texts
from zenso.errors import InputError

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data sets in ../shared/data are absent")


def documented(section):
    text = (ROOT / "bench" / "README.md").read_text("utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def lines(path, *objects):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{json.dumps(item)}\n" for item in objects), "utf-8")


@pytest.fixture
def data(tmp_path):
    for name in ("scifact", "nq_utd", "covidqa"):
        lines(
            tmp_path / name / "corpus.jsonl", {"_id": "1", "title": name, "text": "A text."}, {"_id": "2", "text": ""}
        )
        lines(tmp_path / name / "queries.jsonl", {"_id": "q", "text": f"{name}?"}, {"_id": "r", "text": "Everywhere?"})
    lines(
        tmp_path / "nli" / "triplets.jsonl", {"anchor": "A man sleeps .", "positive": "He rests .", "negative": "No ."}
    )
    lines(tmp_path / "squad11_dev" / "corpus.jsonl", {"_id": "1", "title": "Rome", "text": "Rome is old."})
    lines(tmp_path / "squad11_dev" / "queries.jsonl", {"_id": "1", "text": "How old is Rome?"})
    (tmp_path / "stsb").mkdir()
    for part in ("dev", "test"):
        text = f"score\tsentence1\tsentence2\n5.000\tA man sleeps.\tA {part} sentence.\n"
        (tmp_path / "stsb" / f"stsb_{part}.tsv").write_text(text, "utf-8")
    return tmp_path


def test_no_test_text_is_trained_on(data):
    texts = read_texts(data)
    assert texts.documents == [
        *("scifact A text.", "nq_utd A text.", "covidqa A text."),
        *("A dev sentence.", "A test sentence."),
    ]
    assert texts.queries == ["scifact?", "Everywhere?", "nq_utd?", "covidqa?"]
    assert texts.training == ["A man sleeps .", "He rests .", "No .", "How old is Rome?", "Rome Rome is old."]


@pytest.mark.parametrize("content", ["{broken", "[1]", None])
def test_a_damaged_set_is_named(data, content):
    path = data / "nli" / "triplets.jsonl"
    path.unlink() if content is None else path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=r"triplets\.jsonl"):
        read_texts(data)


def test_exact_search_and_recall():
    documents = np.eye(12, dtype=np.int16) * 100 + np.arange(12, dtype=np.int16)[:, None]
    best = exact(documents, documents[:2])
    assert best[0].tolist() == [0, 11, 10, 9, 8, 7, 6, 5, 4, 3]
    assert share_found(best, best).tolist() == [1, 1]
    assert share_found(best[:1], np.arange(10)[None]).tolist() == [0.8]


@needs_data
def test_a_quick_run(tmp_path):
    file = tmp_path / "bitdelta.json"
    command = [sys.executable, "-m", "bench", "bitdelta", "--data", DATA, "--json", file, "--quick"]
    process = subprocess.run(
        [*command, "--vectors", tmp_path / "v.npz"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    assert set(results) == documented("`bitdelta`") | documented("Keys of every measurement")
    assert (results["documents"], results["queries"], results["training_vectors"]) == (240, 40, 600)
    sizes = (52, 100, 148, 196, 244, 388, 484, 964)
    recalls = [results[f"zenso_{size}_recall_at_10"] for size in sizes]
    assert recalls == sorted(recalls)
    assert recalls[-1] > 0.99
    assert results["zenso_964_mean_cosine"] >= 0.9995
    assert results["zenso_52_recall_at_10"] > results["opq_48_recall_at_10"]
    assert (results["rabitq_1_bytes"], results["rotated_rabitq_8_bytes"], results["sq_8_bytes"]) == (56, 404, 384)
    assert (tmp_path / "bitdelta.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in file.read_text("utf-8")
