"""Search by words: BM25 over the full-text index (SQLite FTS5) that triggers keep in step with the texts.

Words are stemmed (Porter) and lose their accents; a document is found when it holds any word of the query.
"""

import re
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zenso.memory.filters import Condition

if TYPE_CHECKING:
    from zenso.memory.metadata import SqlValue

MAX_WORDS = 64  # of a query; each costs a reading of all its documents
_WORD = re.compile(r"\w+")
# A word that more than a quarter of the documents hold hardly changes an order (its idf is small), and reading all of
# them takes most of the time.
_COMMON_SHARE = 4


def query_words(text: str) -> list[str]:
    """Return the distinct words of a query, the first 64."""
    return list(dict.fromkeys(word.casefold() for word in _WORD.findall(text)))[:MAX_WORDS]


def telling_words(words: Sequence[str], held: Sequence[int], documents: int) -> list[str]:
    """Leave out the words that more than a quarter of the documents hold; the rarest stays in any case.

    ``held`` are the numbers of documents that hold each word, or an upper bound.
    """
    if not words:
        return []
    kept = [word for word, count in zip(words, held, strict=True) if count * _COMMON_SHARE <= documents]
    return kept or [words[held.index(min(held))]]


def rank_by_words(
    connection: sqlite3.Connection, words: Sequence[str], limit: int, condition: Condition | None
) -> list[int]:
    """Return the rows (seq) of the best documents by BM25, best first, equal scores by id.

    Which of the documents that tie with the last one are among them is a matter of lower rows, because looking up the
    id of everything that holds a word would take as long as ranking it.
    """
    if not words:
        return []
    # In double quotes nothing is an operator of FTS5; \w matches no quote.
    expression = " OR ".join(f'"{word}"' for word in words)
    select = "SELECT words.rowid AS seq, words.rank AS points FROM words"
    parameters: tuple[SqlValue, ...] = ()
    if condition is not None:
        select, parameters = f"{select} JOIN documents ON documents.seq = words.rowid", condition.parameters
    query = f"{select} WHERE words MATCH ?{f' AND {condition.sql}' if condition else ''}"
    best = f"{query} ORDER BY words.rank, words.rowid LIMIT ?"
    ordered = f"SELECT seq FROM ({best}) JOIN documents USING (seq) ORDER BY points, documents.id"  # noqa: S608 - bound
    rows = connection.execute(ordered, (expression, *parameters, limit))
    return [int(row[0]) for row in rows]
