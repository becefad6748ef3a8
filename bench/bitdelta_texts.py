"""The texts of `bench bitdelta`, and those that the shipped codebook and the codecs it is compared with learn from."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.retrieval_sets import NAMES
from zenso.errors import InputError


@dataclass(frozen=True)
class Texts:
    """Distinct texts; no text of the test is also one of the training, however it is spaced or capitalised."""

    documents: list[str]
    queries: list[str]
    training: list[str]


def training_texts(data: Path) -> list[str]:
    """Sentences of `nli`, then questions and paragraphs of `squad11_dev`.

    Raises
    ------
    InputError
        A file is missing or is not what it should be.
    """
    triplets = _objects(data / "nli" / "triplets.jsonl")
    texts = [str(item.get(role, "")) for item in triplets for role in ("anchor", "positive", "negative")]
    texts += [
        _text(item) for name in ("queries", "corpus") for item in _objects(data / "squad11_dev" / f"{name}.jsonl")
    ]
    return [text for text in dict.fromkeys(texts) if text]


def read_texts(data: Path) -> Texts:
    """Read all texts: documents and queries of the retrieval sets, and sentences of `stsb` as further documents.

    Raises
    ------
    InputError
        A file is missing or is not what it should be.
    """
    training = training_texts(data)
    documents = [_text(item) for name in NAMES for item in _objects(data / name / "corpus.jsonl")]
    documents += [sentence for part in ("dev", "test") for sentence in _sentences(data / "stsb" / f"stsb_{part}.tsv")]
    queries = [_text(item) for name in NAMES for item in _objects(data / name / "queries.jsonl")]
    seen = {_letters(text) for text in training}
    return Texts(_new(documents, seen), _new(queries, seen), training)


def _new(texts: list[str], seen: set[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text and _letters(text) not in seen]


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", text).lower()


def _text(item: dict[str, Any]) -> str:
    return f"{item.get('title') or ''} {item.get('text') or ''}".strip()


def _rows(path: Path) -> list[str]:
    try:
        # Only a line feed ends a line: texts hold other characters that str.splitlines() takes for an end.
        return [line for line in path.read_text("utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read ({error}); --data is the folder that holds the sets"
        raise InputError(message) from error


def _objects(path: Path) -> list[dict[str, Any]]:
    try:
        items = [json.loads(line) for line in _rows(path)]
    except ValueError as error:
        message = f"{path} is not JSON Lines ({error})"
        raise InputError(message) from error
    if not all(isinstance(item, dict) for item in items):
        message = f"{path} holds a line that is no object"
        raise InputError(message)
    return items


def _sentences(path: Path) -> list[str]:
    """Both sentences of each line, below the line that names the columns."""
    return [sentence.strip() for line in _rows(path)[1:] for sentence in line.split("\t")[1:3]]
