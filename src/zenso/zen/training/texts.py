"""Texts to train on: retrieval sets in the BEIR layout, and triplets.

A document is held out for validation by the digest of its text, so that it is on the same side in every run and in
every set. A query goes with the document that answers it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.errors import InputError

VALIDATION_SHARE = 0.3
TRIPLETS = "triplets.jsonl"
_LAYOUT = f"corpus.jsonl, queries.jsonl and qrels.tsv (the BEIR layout), or {TRIPLETS}"


@dataclass(frozen=True)
class TrainingSet:
    """Documents and queries; pair i says that document ``positives[i]`` answers query i."""

    name: str
    documents: list[str]
    queries: list[str]  # one for each pair; a query with several answers stands here several times
    positives: NDArray[np.int64]  # (pairs,)
    negatives: NDArray[np.int64]  # (pairs,): a document known not to answer, or -1

    @cached_property
    def held_out(self) -> NDArray[np.bool_]:
        """Which documents are for validation, (documents,)."""
        limit = int(VALIDATION_SHARE * 2**32)
        found = [int.from_bytes(blake3(text.encode("utf-8", "replace")).digest(4)) < limit for text in self.documents]
        return np.array(found, np.bool_)

    @cached_property
    def training_pairs(self) -> NDArray[np.int64]:
        """Pairs none of whose documents is held out."""
        out = self.held_out[self.positives] | (self.held_out[self.negatives] & (self.negatives >= 0))
        return np.flatnonzero(~out)

    @cached_property
    def validation_pairs(self) -> NDArray[np.int64]:
        """Pairs whose document is held out."""
        return np.flatnonzero(self.held_out[self.positives])


def _objects(path: Path) -> list[dict[str, Any]]:
    try:
        items = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read as JSON Lines ({error}); training data is a folder with {_LAYOUT}"
        raise InputError(message) from error
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            message = f"{path}, line {number}, is no JSON object"
            raise InputError(message)
    return items


def _field(path: Path, number: int, item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        message = f"{path}, object {number}, has no text {name!r}; its fields are {', '.join(sorted(item)) or 'none'}"
        raise InputError(message)
    return value


def _named_texts(path: Path) -> dict[str, str]:
    """Titles, where there are any, and texts by id; those that are empty are left out."""
    texts = {}
    for number, item in enumerate(_objects(path), 1):
        text = f"{item.get('title') or ''} {_field(path, number, item, 'text')}".strip()
        if text:
            texts[_field(path, number, item, "_id")] = text
    return texts


def _read_retrieval_set(folder: Path) -> TrainingSet:
    documents, queries = _named_texts(folder / "corpus.jsonl"), _named_texts(folder / "queries.jsonl")
    judgements = folder / "qrels.tsv"
    try:
        rows = [line.split("\t") for line in judgements.read_text("utf-8").split("\n")[1:] if line.strip()]
        pairs = [(query, document) for query, document, grade in rows if int(grade) > 0]
    except (OSError, ValueError) as error:
        message = f"{judgements} is not lines of query, document and grade, separated by tabs ({error})"
        raise InputError(message) from error
    place = {name: row for row, name in enumerate(documents)}
    known = [(queries[query], place[document]) for query, document in pairs if query in queries and document in place]
    positives = np.array([row for _, row in known], np.int64)
    return TrainingSet(
        folder.resolve().name,
        list(documents.values()),
        [query for query, _ in known],
        positives,
        np.full(len(positives), -1, np.int64),
    )


def _read_triplets(path: Path) -> TrainingSet:
    rows: dict[str, int] = {}
    queries, answers = [], []
    for number, item in enumerate(_objects(path), 1):
        anchor, *others = (_field(path, number, item, name).strip() for name in ("anchor", "positive", "negative"))
        if anchor and all(others):
            queries.append(anchor)
            answers.append([rows.setdefault(text, len(rows)) for text in others])
    pairs = np.array(answers, np.int64).reshape(-1, 2)
    return TrainingSet(path.resolve().parent.name, list(rows), queries, pairs[:, 0].copy(), pairs[:, 1].copy())


def read_training_set(folder: Path) -> TrainingSet:
    """Read a folder of training data.

    Raises
    ------
    InputError
        A file is missing or not what the layout says, or no pair is left to train on or to validate with.
    """
    if (folder / TRIPLETS).is_file():
        data = _read_triplets(folder / TRIPLETS)
    elif all((folder / name).is_file() for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")):
        data = _read_retrieval_set(folder)
    else:
        message = f"{folder} is no training data; give a folder with {_LAYOUT}"
        raise InputError(message)
    counts = len(data.training_pairs), len(data.validation_pairs)
    if min(counts) < 1:
        message = f"{folder} has {counts[0]} pairs to train on and {counts[1]} to validate with; give more of them"
        raise InputError(message)
    return data


def read_training_sets(folders: Sequence[Path]) -> list[TrainingSet]:
    """Read several folders, whose names must differ.

    Raises
    ------
    InputError
        As ``read_training_set``, or two folders have the same name.
    """
    sets = [read_training_set(folder) for folder in folders]
    names = [data.name for data in sets]
    if len(set(names)) < len(names):
        message = f"the folders of training data must have different names, these are {', '.join(names)}"
        raise InputError(message)
    return sets
