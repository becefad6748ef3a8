"""The reranker people call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from zenso.errors import InputError
from zenso.rerank.late_interaction import late_interaction
from zenso.zen import ZenEncoder, load_encoder

_AT_ONCE = 64  # candidates whose token states are in memory together: 200 kB each at most


@runtime_checkable
class HasText(Protocol):
    """Anything with a text: a hit of a memory, a document of another library."""

    @property
    def text(self) -> str:
        """The text to compare with the query."""
        ...


@dataclass(frozen=True)
class RerankResult:
    """A candidate and its score."""

    index: int  # position among the candidates given
    score: float  # -1 to 1 but for rounding, larger is better
    text: str
    candidate: Any  # the object that was given


class ZenReranker:
    """Order candidates by how well they answer a query, from their text.

    Parameters
    ----------
    model : str
        Name in the catalogue; fetched and loaded on first use.
    encoder : ZenEncoder, optional
        One that is loaded already.
    """

    def __init__(self, model: str = "all-MiniLM-L6-v2", *, encoder: ZenEncoder | None = None) -> None:
        self._model = model
        self._encoder = encoder

    @property
    def encoder(self) -> ZenEncoder:
        """The encoder in use, loaded when first asked for."""
        if self._encoder is None:
            self._encoder = load_encoder(self._model)
        return self._encoder

    def rerank(
        self,
        query: str,
        candidates: Sequence[str | HasText],
        top_n: int | None = None,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[RerankResult]:
        """Return the candidates, best first; equal scores keep their order.

        Parameters
        ----------
        candidates : sequence of str, or of objects with a ``text``
        top_n : int, optional
            All by default.
        on_progress : callable, optional
            Called with the number of candidates done since the last call.

        Raises
        ------
        InputError
            The query or a candidate is empty or no text, the candidates are one str, or top_n is below 1.
        """
        if top_n is not None and top_n < 1:
            message = f"top_n is {top_n}; ask for at least 1, or leave it out for all"
            raise InputError(message)
        if isinstance(candidates, str):
            message = "candidates is one str; give a list of them"
            raise InputError(message)
        _check_query(query)
        texts = [_text_of(index, candidate) for index, candidate in enumerate(candidates)]
        asked = self.encoder.encode_tokens([query])[0]
        scores: list[float] = []
        for start in range(0, len(texts), _AT_ONCE):
            part = self.encoder.encode_tokens(texts[start : start + _AT_ONCE])
            scores += [late_interaction(asked, states) for states in part]
            if on_progress:
                on_progress(len(part))
        order = sorted(range(len(texts)), key=lambda index: (-scores[index], index))[:top_n]
        return [RerankResult(index, scores[index], texts[index], candidates[index]) for index in order]


def _check_query(query: str) -> None:
    if not isinstance(query, str):
        message = f"the query is {type(query).__name__}; give a str"
        raise InputError(message)
    if not query.strip():
        message = "the query is empty or only white space; give some text"
        raise InputError(message)


def _text_of(index: int, candidate: str | HasText) -> str:
    text = candidate if isinstance(candidate, str) else getattr(candidate, "text", None)
    if not isinstance(text, str):
        message = f"candidate {index} is {type(candidate).__name__}; give a str or an object with a str .text"
        raise InputError(message)
    if not text.strip():
        message = f"candidate {index} is empty or only white space; leave it out"
        raise InputError(message)
    return text
