"""Retrieval sets in the BEIR layout: documents, queries, and judgements of which documents answer which query."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from zenso.errors import InputError, StorageError

LAYOUT = "the BEIR layout is corpus.jsonl, queries.jsonl, and qrels.tsv or qrels/test.tsv"
_JUDGEMENTS = (Path("qrels.tsv"), Path("qrels", "test.tsv"))  # the second is where BEIR's own archives have them


class Judgement(NamedTuple):
    """What somebody said of a document as an answer to a query."""

    query_id: str
    document_id: str
    grade: int  # 0 is no answer


@dataclass(frozen=True)
class RetrievalSet:
    """Documents in the order of their file, and the queries that somebody judged."""

    name: str
    document_ids: list[str]
    documents: list[str]
    query_ids: list[str]
    queries: list[str]
    judgements: list[Judgement]  # for these queries
    empty_documents: int  # without any text, so they cannot be found and are left out
    unknown_answers: int  # judged to be answers to these queries, but not among the documents, so never found


def read_retrieval_set(folder: Path, *, queries: int | None = None, documents: int | None = None) -> RetrievalSet:
    """Read a folder in the BEIR layout.

    A text is its title, if there is one, a space and its text. Only queries with judgements are taken.

    Parameters
    ----------
    folder : Path
        ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``), and ``qrels.tsv`` or
        ``qrels/test.tsv`` (query, document and grade, separated by tabs, below a line of headings).
    queries : int, optional
        Take about as many, spaced evenly over all, instead of all.
    documents : int, optional
        Take the first so many and those that were judged for these queries, instead of all.

    Raises
    ------
    InputError
        A file is missing or is not what the layout says, or nothing is left to measure.
    StorageError
        A file cannot be read.
    """
    qrels = _find_judgements(folder)
    every_judgement = _read_judgements(qrels)
    judged = {judgement.query_id for judgement in every_judgement}
    asked = [item for item in _objects(folder / "queries.jsonl") if item["_id"] in judged and _text(item)]
    if queries is not None and queries < len(asked):
        asked = [asked[number * len(asked) // queries] for number in range(queries)]
    query_ids = {item["_id"] for item in asked}
    judgements = [judgement for judgement in every_judgement if judgement.query_id in query_ids]
    corpus = _objects(folder / "corpus.jsonl")
    if documents is not None:
        needed = {judgement.document_id for judgement in judgements}
        corpus = [item for number, item in enumerate(corpus) if number < documents or item["_id"] in needed]
    kept = [item for item in corpus if _text(item)]
    if not kept or not asked:
        message = f"{folder} has {len(kept)} documents with text and {len(asked)} judged queries; there is no ranking"
        raise InputError(message)
    known = {item["_id"] for item in kept}
    return RetrievalSet(
        name=folder.resolve().name,
        document_ids=[item["_id"] for item in kept],
        documents=[_text(item) for item in kept],
        query_ids=[item["_id"] for item in asked],
        queries=[_text(item) for item in asked],
        judgements=judgements,
        empty_documents=len(corpus) - len(kept),
        unknown_answers=sum(one.grade > 0 and one.document_id not in known for one in judgements),
    )


def _find_judgements(folder: Path) -> Path:
    """Return the file of judgements; an error names everything that the folder lacks."""
    if not folder.is_dir():
        raise InputError(f"{folder} is {'a file' if folder.exists() else 'not there'}; give a folder: {LAYOUT}")
    missing = [name for name in ("corpus.jsonl", "queries.jsonl") if not (folder / name).is_file()]
    found = next((folder / path for path in _JUDGEMENTS if (folder / path).is_file()), None)
    if found is None:
        missing.append("qrels.tsv")
    if missing or found is None:
        raise InputError(f"{folder} has no {' and no '.join(missing)}; {LAYOUT}{_other_judgements(folder)}")
    return found


def _other_judgements(folder: Path) -> str:
    others = sorted(path.name for path in (folder / "qrels").glob("*.tsv"))
    if not others or "test.tsv" in others:
        return ""
    return f" (qrels has {', '.join(others)}: copy the one to be used to qrels.tsv)"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, and their numbers from 1.

    Only a line feed ends a line: texts hold other characters that str.splitlines() takes for an end.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); check its mode") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error}); convert it") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _objects(path: Path) -> list[dict[str, Any]]:
    """Read objects with distinct ids."""
    items = []
    for number, line in _lines(path):
        try:
            item = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}, is not JSON ({error}); {LAYOUT}") from error
        if not isinstance(item, dict) or not isinstance(item.get("_id"), str):
            raise InputError(f"{path}, line {number}, is no object with an _id that is a string; {LAYOUT}")
        items.append(item)
    repeated, times = next(iter(Counter(item["_id"] for item in items).most_common(1)), ("", 1))
    if times > 1:
        raise InputError(f"{path} has {times} objects with the _id {repeated!r}; ids must differ")
    return items


def _read_judgements(path: Path) -> list[Judgement]:
    judgements = []
    for number, line in _lines(path):
        fields = [field.strip() for field in line.split("\t")]
        try:
            query, document, grade = fields
            judgements.append(Judgement(query, document, int(grade)))
        except ValueError as error:
            if number > 1:  # the first holds headings
                message = f"{path}, line {number}, is not a query, a document and a whole grade, separated by tabs"
                raise InputError(message) from error
    return judgements


def _text(item: dict[str, Any]) -> str:
    """Title, where there is one, and text."""
    return f"{item.get('title') or ''} {item.get('text') or ''}".strip()
