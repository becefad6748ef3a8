"""What can be reranked: texts, objects of several libraries that hold one, and codes."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta import read_header
from zenso.errors import InputError, IntegrityError

_TEXT_NAMES = ("text", "page_content", "content")  # of Hit, LlamaIndex and many others; of LangChain; of Haystack


@runtime_checkable
class HasText(Protocol):
    """Anything with a text: a hit of a memory, a document of another library."""

    @property
    def text(self) -> str:
        """The text to compare with the query."""
        ...


# A text; a mapping with "text", "page_content" or "content"; an object with an attribute of such a name or a method
# get_content(); or a code, as bytes or as an array of uint8.
Candidate = str | Mapping[str, object] | HasText | bytes | NDArray[np.uint8] | object


def check_query(query: object) -> str:
    """Return the query, or raise InputError."""
    if not isinstance(query, str):
        message = f"the query is {type(query).__name__}; give a str"
        raise InputError(message)
    if not query.strip():
        message = "the query is empty or only white space; give some text"
        raise InputError(message)
    return query


def check_candidates(candidates: Sequence[Candidate]) -> None:
    """Refuse what is one candidate rather than several.

    Raises
    ------
    InputError
    """
    if isinstance(candidates, str | bytes | Mapping):
        message = f"candidates is one {type(candidates).__name__}; give a list of them"
        raise InputError(message)


def code_of(index: int, candidate: Candidate) -> NDArray[np.uint8] | None:
    """Return a candidate's code, or None if it is no code.

    Raises
    ------
    InputError
        It has a length that codes do not have.
    IntegrityError
        It is of an unknown family or version.
    """
    if isinstance(candidate, bytes | bytearray | memoryview):
        code = np.frombuffer(candidate, np.uint8)
    elif isinstance(candidate, np.ndarray) and candidate.dtype == np.uint8 and candidate.ndim == 1:
        code = candidate
    else:
        return None
    try:
        read_header(code)
    except (InputError, IntegrityError) as error:
        message = f"candidate {index}: {error}"
        raise type(error)(message) from error
    return code


def text_of(index: int, candidate: Candidate) -> str:
    """Return a candidate's text.

    Raises
    ------
    InputError
        It has none, or an empty one.
    """
    text = candidate if isinstance(candidate, str) else _find_text(candidate)
    if not isinstance(text, str):
        message = (
            f"candidate {index} is {type(candidate).__name__}; give a str, a dict with a text, an object with a text, "
            "or a code"
        )
        raise InputError(message)
    if not text.strip():
        message = f"candidate {index} is empty or only white space; leave it out"
        raise InputError(message)
    return text


def _find_text(candidate: Candidate) -> object:
    if isinstance(candidate, Mapping):
        return next((candidate[name] for name in _TEXT_NAMES if isinstance(candidate.get(name), str)), None)
    get_content = getattr(candidate, "get_content", None)  # of LlamaIndex: its .text raises for some kinds of node
    if callable(get_content):
        return get_content()
    return next((text for name in _TEXT_NAMES if isinstance(text := getattr(candidate, name, None), str)), None)
