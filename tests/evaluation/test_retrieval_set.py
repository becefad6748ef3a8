import json

import pytest

from tests.evaluation.small_set import write_set
from zenso.errors import InputError
from zenso.evaluation.retrieval_set import read_retrieval_set


@pytest.fixture
def small(tmp_path):
    return write_set(tmp_path / "small")


def test_reading(small):
    data = read_retrieval_set(small)
    assert data.name == "small"
    assert data.document_ids == ["plants", "stars", "bread", "only a title", "line"]
    assert data.documents[0] == "Photosynthesis Plants turn sunlight, water and carbon dioxide into sugar."
    assert data.documents[1] == "Stars are balls of plasma held together by gravity."
    assert data.documents[3] == "The history of the bicycle"
    assert data.query_ids == ["q1", "q2", "q3", "q4"]
    assert data.judgements[0] == ("q1", "plants", 2)
    assert (len(data.judgements), data.empty_documents, data.unknown_answers) == (5, 1, 0)


def test_a_part_keeps_what_its_queries_were_judged_with(small):
    data = read_retrieval_set(small, queries=2, documents=2)
    assert data.query_ids == ["q1", "q3"]
    assert data.document_ids == ["plants", "stars", "bread"]
    assert {judgement.query_id for judgement in data.judgements} == {"q1", "q3"}
    assert len(read_retrieval_set(small, queries=100).queries) == 4


def test_judgements_where_beir_has_them(small):
    (small / "qrels").mkdir()
    (small / "qrels.tsv").rename(small / "qrels" / "test.tsv")
    assert len(read_retrieval_set(small).judgements) == 5
    (small / "qrels" / "test.tsv").rename(small / "qrels" / "dev.tsv")
    with pytest.raises(InputError, match=r"has no qrels\.tsv; .*qrels has dev\.tsv: copy"):
        read_retrieval_set(small)


def test_judgements_without_headings_or_with_other_line_ends(small):
    (small / "qrels.tsv").write_bytes(b"q1\tplants\t1\r\nq3\tbread\t1\r\n")
    assert read_retrieval_set(small).judgements == [("q1", "plants", 1), ("q3", "bread", 1)]


def test_answers_that_are_not_there_are_counted(small):
    with (small / "qrels.tsv").open("a") as out:
        print("q1\tnowhere\t1\nq1\tnowhere else\t0\nq2\tnone\t1", file=out)
    assert read_retrieval_set(small).unknown_answers == 2


def test_everything_that_a_folder_lacks_is_named(small, tmp_path):
    for file in ("queries.jsonl", "qrels.tsv"):
        (small / file).unlink()
    with pytest.raises(InputError, match=r"small has no queries\.jsonl and no qrels\.tsv; the BEIR layout is"):
        read_retrieval_set(small)
    with pytest.raises(InputError, match="is not there; give a folder"):
        read_retrieval_set(tmp_path / "none")
    with pytest.raises(InputError, match="is a file; give a folder"):
        read_retrieval_set(small / "corpus.jsonl")


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tplants\n", r"qrels\.tsv, line 2, is not a query"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tplants\tgood\n", r"qrels\.tsv, line 2, is not"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "0 judged queries"),
        ("corpus.jsonl", "\n{broken\n", r"corpus\.jsonl, line 2, is not JSON"),
        ("corpus.jsonl", "", "0 documents"),
        ("corpus.jsonl", '{"title": "no id", "text": "text"}\n', r"corpus\.jsonl, line 1, is no object with an _id"),
        ("corpus.jsonl", '{"_id": "a", "text": "b"}\n' * 2, r"corpus\.jsonl has 2 objects with the _id 'a'"),
        ("queries.jsonl", '["a list"]\n', r"queries\.jsonl, line 1"),
        ("queries.jsonl", b"\xff\xfe", r"queries\.jsonl is not UTF-8"),
    ],
)
def test_damaged_files_are_named(small, file, content, named):
    (small / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=named):
        read_retrieval_set(small)


def test_a_title_that_is_no_text_does_not_matter(small):
    (small / "corpus.jsonl").write_text(json.dumps({"_id": "plants", "title": None, "text": "Sugar."}) + "\n")
    assert read_retrieval_set(small).documents == ["Sugar."]
