"""The reranker people call."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from zenso.bitdelta import score
from zenso.errors import InputError
from zenso.rerank.calibration import FROM_CODE, FROM_TEXT
from zenso.rerank.candidates import Candidate, check_candidates, check_query, code_of, text_of
from zenso.rerank.explanation import Explainer, Explanation
from zenso.rerank.late_interaction import Evidence
from zenso.rerank.scoring import Scorer
from zenso.zen import Lookup, QueryEmbedding, TokenStates, Windows, ZenEncoder, load_encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zenso.memory import Memory

MAX_CHARACTERS = 50_000  # of a candidate that are read: some 60 windows of English
_UNIT = 32767.0 * 32767.0  # of a product of two directions
_AT_ONCE = 64  # windows whose token states are in memory together: 200 kB each at most


@dataclass(frozen=True)
class RerankResult:
    """A candidate and its score."""

    index: int  # position among the candidates given
    score: float  # 0 to 1, larger is better: the share of candidates with such evidence that answer their query
    text: str | None  # None if a code was given
    candidate: Any  # the object that was given
    evidence: float  # what the score was made from; about -1 to 1
    explanation: Explanation | None = None


@dataclass(frozen=True)
class _Read:
    """What reading one candidate found."""

    evidence: float
    score: float
    text: str | None = None
    found: tuple[Evidence, Windows] | None = None


class ZenReranker:
    """Order candidates by how well they answer a query, from their text or from their codes.

    Parameters
    ----------
    model : str
        Name in the catalogue; fetched and loaded on first use.
    encoder : ZenEncoder, optional
        One that is loaded already.
    memory : Memory, optional
        The memory that candidates come from: its model is used, a query's words weigh by how many of its documents
        hold them, and with ``from_codes`` its hits need not be read again. Without it they weigh by shipped counts.
    """

    def __init__(
        self, model: str = "all-MiniLM-L6-v2", *, encoder: ZenEncoder | None = None, memory: "Memory | None" = None
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._memory = memory

    @property
    def encoder(self) -> ZenEncoder:
        """The encoder in use, loaded when first asked for."""
        if self._encoder is None:
            self._encoder = load_encoder(self._model) if self._memory is None else self._memory.encoder
        return self._encoder

    @property
    def _frequencies(self) -> Lookup | None:
        return None if self._memory is None else self._memory.frequencies

    def rerank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        top_n: int | None = None,
        *,
        from_codes: bool = False,
        explain: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[RerankResult]:
        """Return the candidates, best first; equal scores keep their order.

        A candidate's score does not depend on the others. Texts longer than the model reads are read in windows,
        the first 50,000 characters of each.

        Parameters
        ----------
        candidates : sequence
            Each a str; a dict or an object with a text (of a memory, LangChain, LlamaIndex or Haystack); or a code, as
            bytes or uint8 of shape (964,), (484,) or (244,), which is scored without any text.
        top_n : int, optional
            All by default.
        from_codes : bool
            Score hits and documents of the memory that the reranker was given by the codes stored there: hundreds of
            times faster, and a little less exact. Other candidates are read as always.
        explain : bool
            Tell of each result that has a text which passage answers best, and which of its tokens answer those of the
            query. Scores from codes are not explained.
        on_progress : callable, optional
            Called with the number of candidates done since the last call.

        Raises
        ------
        InputError
            The query or a candidate is empty or no text, the candidates are one str, top_n is below 1, or
            ``from_codes`` is asked for without a memory.
        IntegrityError
            A code is of an unknown family or version.
        """
        if top_n is not None and top_n < 1:
            message = f"top_n is {top_n}; ask for at least 1, or leave it out for all"
            raise InputError(message)
        if from_codes and self._memory is None:
            message = "from_codes needs the memory that holds the codes: ZenReranker(memory=...)"
            raise InputError(message)
        check_candidates(candidates)
        check_query(query)
        codes = self._codes(candidates, stored=from_codes)
        texts = {index: text_of(index, one) for index, one in enumerate(candidates) if index not in codes}
        asked = self.encoder.encode_query(query, self._frequencies)
        read = _read_codes(asked, codes)
        if on_progress and codes:
            on_progress(len(codes))
        for index, one in self._read_texts(asked, texts):
            read[index] = one
            if on_progress:
                on_progress(1)
        order = sorted(read, key=lambda index: (-read[index].score, -read[index].evidence, index))[:top_n]
        explainer = self._explainer(query, asked) if explain else None
        return [_result(index, candidates[index], read[index], explainer) for index in order]

    def _explainer(self, query: str, asked: QueryEmbedding) -> Explainer:
        return Explainer(query, asked.weights, self.encoder.splitting_tokenizer, self.encoder.query_prefix)

    def _codes(self, candidates: Sequence[Candidate], *, stored: bool) -> dict[int, "NDArray[np.uint8]"]:
        """Find the candidates that are codes, or whose codes the memory has."""
        codes = {i: code for i, one in enumerate(candidates) if (code := code_of(i, one)) is not None}
        if stored and self._memory is not None:
            known = {i: name for i, one in enumerate(candidates) if isinstance(name := getattr(one, "id", None), str)}
            held = self._memory.codes(list(known.values()))
            codes |= {i: held[name] for i, name in known.items() if i not in codes and name in held}
        return codes

    def _read_texts(self, asked: QueryEmbedding, texts: dict[int, str]) -> Iterator[tuple[int, _Read]]:
        """Read candidates, several at once, and yield what each holds."""
        scorer = Scorer(asked)
        beginnings = [text[:MAX_CHARACTERS] for text in texts.values()]
        cut = dict(zip(texts, self.encoder.cut_windows(beginnings), strict=True))
        for group in _groups(cut):
            states = self._states([piece for index in group for piece in cut[index].pieces])
            for index in group:
                windows = cut[index]
                value, evidence = scorer.score(windows, islice(states, len(windows.spans)))
                yield index, _Read(value, FROM_TEXT.score(value), texts[index], (evidence, windows))

    def _states(self, pieces: Sequence[str]) -> Iterator[TokenStates]:
        for start in range(0, len(pieces), _AT_ONCE):
            yield from self.encoder.encode_tokens(pieces[start : start + _AT_ONCE])


def _groups(cut: dict[int, Windows]) -> Iterator[list[int]]:
    """Group candidates, in order, up to 64 windows; one with more is a group of its own."""
    group: list[int] = []
    held = 0
    for index, windows in cut.items():
        if group and held + len(windows.spans) > _AT_ONCE:
            yield group
            group, held = [], 0
        group.append(index)
        held += len(windows.spans)
    if group:
        yield group


def _read_codes(asked: QueryEmbedding, codes: dict[int, "NDArray[np.uint8]"]) -> dict[int, _Read]:
    """Score codes of each length together."""
    read = {}
    query = asked.prepare()
    for length in {len(code) for code in codes.values()}:
        mine = [index for index, code in codes.items() if len(code) == length]
        # Not clipped, as similarities are: two codes that pass 1 still differ.
        values = score(query, np.stack([codes[index] for index in mine])) / (query.weight * _UNIT)
        for index, value in zip(mine, values.tolist(), strict=True):
            read[index] = _Read(value, FROM_CODE.score(value))
    return read


def _result(index: int, candidate: Candidate, read: _Read, explainer: Explainer | None) -> RerankResult:
    explanation = None if explainer is None or read.found is None else explainer.explain(*read.found)
    text = getattr(candidate, "text", None) if read.text is None else read.text
    return RerankResult(index, read.score, text, candidate, read.evidence, explanation)
