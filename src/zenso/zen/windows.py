"""Long texts in windows: overlapping pieces that the model can read whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from zenso.canonical import well_formed

_SPECIAL = 2  # tokens that the model puts around a text
_OVERLAP = 64  # tokens that neighbouring windows share


@dataclass(frozen=True)
class Windows:
    """A text and where its windows lie."""

    text: str
    spans: tuple[tuple[int, int], ...]  # characters: from and to
    ids: NDArray[np.int32]  # (tokens,): of the whole text, special tokens left out

    @property
    def pieces(self) -> list[str]:
        """The text of each window."""
        return [self.text[start:end] for start, end in self.spans]


def cut_windows(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> list[Windows]:
    """Cut texts into windows of at most ``max_tokens`` tokens; a text that fits is one window.

    Parameters
    ----------
    texts : sequence of str
    tokenizer : Tokenizer
        The model's, without truncation.
    max_tokens : int
        Special tokens included.
    """
    room = max_tokens - _SPECIAL
    encodings = tokenizer.encode_batch([well_formed(text) for text in texts], add_special_tokens=False)
    return [
        Windows(text, _spans(encoding, len(text), room), np.array(encoding.ids, np.int32))
        for text, encoding in zip(texts, encodings, strict=True)
    ]


def _spans(encoding: Encoding, length: int, room: int) -> tuple[tuple[int, int], ...]:
    offsets, words = encoding.offsets, encoding.word_ids
    if not offsets:
        return ((0, length),)

    def start_of_word(token: int, lowest: int) -> int:
        """Step back from within a word, but not to ``lowest`` or before, where one word fills a window."""
        start = token
        while start > lowest and words[start] == words[start - 1]:
            start -= 1
        return start if start > lowest else token

    spans = []
    first = 0
    while first + room < len(offsets):
        last = start_of_word(first + room, first)
        spans.append((offsets[first][0], offsets[last - 1][1]))
        first = start_of_word(max(first + 1, last - _OVERLAP), first)
    return (*spans, (offsets[first][0], offsets[-1][1]))
