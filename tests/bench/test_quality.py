import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.quality import MEASURES, read_retrieval_set
from zenso.errors import InputError

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    "plants": ("Photosynthesis", "Plants turn sunlight, water and carbon dioxide into sugar."),
    "stars": ("", "Stars are balls of plasma held together by gravity."),
    "none": ("", "  "),
    "bread": ("Baking", "Bread is made of flour, water and yeast."),
    "only a title": ("The history of the bicycle", ""),
    "line": ("", "A line\u2028separator and a next\x85line are no ends of a line."),
}
QUERIES = {
    "q1": "How do plants make sugar?",
    "q2": "What is a star made of?",
    "nobody judged this": "Is there life on Mars?",
    "q3": "How is bread baked?",
    "q4": "Who invented bicycles?",
}
JUDGEMENTS = [
    ("q1", "plants", 2),
    ("q1", "bread", 0),
    ("q2", "stars", 1),
    ("q3", "bread", 1),
    ("q4", "only a title", 1),
]


def write_set(folder, judgements=JUDGEMENTS):
    folder.mkdir()
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as out:
        for name, (title, text) in DOCUMENTS.items():
            print(json.dumps({"_id": name, "title": title, "text": text}, ensure_ascii=False), file=out)
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as out:
        for name, text in QUERIES.items():
            print(json.dumps({"_id": name, "text": text}), file=out)
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in judgements), ""]
    (folder / "qrels.tsv").write_text("\n".join(lines), "utf-8")
    return folder


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
    for ranking in ("pooled", "codes", "codes_484_bytes", "codes_244_bytes", "bm25", "hybrid", "auto", "rerank"):
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
        assert results[f"average_{key}"] == pytest.approx((results[f"small_{key}"] + results[f"other_{key}"]) / 2)


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl"])
def test_a_folder_of_another_layout_is_named(small, tmp_path, missing):
    (small / missing).unlink()
    process = run_bench("quality", "--data", small, "--json", tmp_path / "quality.json")
    assert process.returncode == 2
    assert f"{small} has no {missing}" in process.stderr
    assert "Traceback" not in process.stderr


def test_reading(small):
    data = read_retrieval_set(small, quick=False)
    assert data.document_ids == ["plants", "stars", "bread", "only a title", "line"]
    assert data.documents[0] == "Photosynthesis Plants turn sunlight, water and carbon dioxide into sugar."
    assert data.documents[1] == "Stars are balls of plasma held together by gravity."
    assert data.documents[3] == "The history of the bicycle"
    assert data.query_ids == ["q1", "q2", "q3", "q4"]
    assert len(data.judgements) == 5


def test_quick_keeps_what_the_first_queries_were_judged_with(small, monkeypatch):
    monkeypatch.setattr("bench.quality.QUICK_DOCUMENTS", 1)
    monkeypatch.setattr("bench.quality.QUICK_QUERIES", 2)
    data = read_retrieval_set(small, quick=True)
    assert data.query_ids == ["q1", "q2"]
    assert data.document_ids == ["plants", "stars", "bread"]
    assert {judgement.query_id for judgement in data.judgements} == {"q1", "q2"}


def test_judgements_where_beir_has_them(small):
    (small / "qrels").mkdir()
    (small / "qrels.tsv").rename(small / "qrels" / "test.tsv")
    assert len(read_retrieval_set(small, quick=False).judgements) == 5


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tplants\n", r"qrels\.tsv is not lines"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tplants\tgood\n", r"qrels\.tsv is not lines"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "0 judged queries"),
        ("corpus.jsonl", "{broken\n", r"corpus\.jsonl cannot be read"),
        ("corpus.jsonl", "", "0 documents"),
        ("corpus.jsonl", '{"title": "no id", "text": "text"}\n', r"corpus\.jsonl"),
        ("queries.jsonl", '["a list"]\n', r"queries\.jsonl"),
    ],
)
def test_damaged_files_are_named(small, file, content, named):
    (small / file).write_text(content, "utf-8")
    with pytest.raises(InputError, match=named):
        read_retrieval_set(small, quick=False)
    (small / "qrels.tsv").unlink()
    with pytest.raises(InputError, match=r"neither qrels\.tsv"):
        read_retrieval_set(small, quick=False)
