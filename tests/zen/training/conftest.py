"""A small retrieval set and triplets, written as files, with states by the real kernel."""

import json

import pytest

from zenso.zen import load_encoder

torch = pytest.importorskip("torch", reason="training needs the extra torch")

THINGS = ["river", "bread", "engine", "violin", "winter", "lawyer", "garden", "planet", "copper", "letter"]
PLACES = ["in Norway", "of my aunt", "at night", "under the bridge", "for children", "from the museum"]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_retrieval_set(folder):
    folder.mkdir()
    texts = [f"The {thing} {place} is what this note is about." for thing in THINGS for place in PLACES]
    lines(folder / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)])
    asked = [f"which {thing} {place}?" for thing in THINGS for place in PLACES]
    lines(folder / "queries.jsonl", [{"_id": f"q{n}", "text": text} for n, text in enumerate(asked)])
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(len(texts)))
    (folder / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")
    return folder


def write_triplets(folder):
    folder.mkdir()
    rows = [
        {"anchor": f"a {thing}", "positive": f"There is a {thing}.", "negative": f"There is no {thing}."}
        for thing in THINGS
    ]
    lines(folder / "triplets.jsonl", rows)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Folders of a retrieval set and of triplets."""
    place = tmp_path_factory.mktemp("data")
    return [write_retrieval_set(place / "notes"), write_triplets(place / "opposites")]


@pytest.fixture(scope="session")
def encoder():
    return load_encoder()


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="session")
def corpora(data, cache, encoder):
    from zenso.zen.training.corpus import open_corpora  # noqa: PLC0415 - not without torch
    from zenso.zen.training.texts import read_training_sets  # noqa: PLC0415

    return open_corpora(read_training_sets(data), cache, encoder.canonical, lambda *_: None)
