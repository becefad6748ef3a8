import pytest

from tests.zen.training.conftest import lines, write_retrieval_set, write_triplets
from zenso.errors import InputError
from zenso.zen.training.texts import read_training_set, read_training_sets


def test_retrieval_set(data):
    found = read_training_set(data[0])
    assert (found.name, len(found.documents), len(found.queries)) == ("notes", 60, 60)
    assert found.positives.tolist() == list(range(60))
    assert set(found.negatives.tolist()) == {-1}


def test_triplets(data):
    found = read_training_set(data[1])
    assert found.queries[3] == "a violin"
    assert found.documents[found.positives[3]] == "There is a violin."
    assert found.documents[found.negatives[3]] == "There is no violin."


def test_no_training_pair_has_a_document_that_is_held_out(data):
    for found in read_training_sets(data):
        training, validation = set(found.training_pairs.tolist()), set(found.validation_pairs.tolist())
        assert training
        assert validation
        assert not training & validation
        assert not found.held_out[found.positives[sorted(training)]].any()
        assert found.held_out[found.positives[sorted(validation)]].all()


def test_a_document_is_held_out_whatever_else_there_is(data, tmp_path):
    whole = read_training_set(data[0])
    folder = write_retrieval_set(tmp_path / "part")
    kept = (folder / "corpus.jsonl").read_text().splitlines()[::2]
    (folder / "corpus.jsonl").write_text("\n".join(kept))
    assert read_training_set(folder).held_out.tolist() == whole.held_out[::2].tolist()


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_missing_files_are_told(tmp_path, missing):
    folder = write_retrieval_set(tmp_path / "set")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=r"is no training data; give a folder with corpus\.jsonl"):
        read_training_set(folder)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("corpus.jsonl", "not json", "cannot be read as JSON Lines"),
        ("corpus.jsonl", "[1]", "line 1, is no JSON object"),
        ("corpus.jsonl", '{"_id": "d0"}', "object 1, has no text 'text'; its fields are _id"),
        ("queries.jsonl", '{"text": "x"}', "has no text '_id'"),
        ("qrels.tsv", "head\nq0 d0 1", "not lines of query, document and grade"),
        ("qrels.tsv", "head\nq0\td0\tmuch", "not lines of query, document and grade"),
        ("qrels.tsv", "head\n", "has 0 pairs to train on and 0 to validate with"),
    ],
)
def test_damaged_files_are_told(tmp_path, name, content, match):
    folder = write_retrieval_set(tmp_path / "set")
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=match):
        read_training_set(folder)


def test_triplets_without_a_part(tmp_path):
    folder = write_triplets(tmp_path / "set")
    lines(folder / "triplets.jsonl", [{"anchor": "a", "positive": "b"}])
    with pytest.raises(InputError, match="has no text 'negative'; its fields are anchor, positive"):
        read_training_set(folder)


def test_folders_of_one_name(data):
    with pytest.raises(InputError, match="different names, these are notes, notes"):
        read_training_sets([data[0], data[0]])
