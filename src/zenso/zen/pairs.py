"""The same texts through two models: what an aligner is learned from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from zenso.canonical import Artifact, CanonicalEncoder, Want
from zenso.zen.integer_map import directions

_AT_ONCE = 256  # texts; their token states take 600 kB each at most


Vectors: TypeAlias = NDArray[np.int16] | NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class TokenPairs:
    """The same m tokens through both models: directions, scale 32767."""

    source: NDArray[np.int16]  # (m, source width): token states
    words: NDArray[np.int16]  # (m, source width): word embeddings in the source, as `word_directions` gives them
    target: NDArray[np.int16]  # (m, width): token states


@dataclass(frozen=True)
class Pairs:
    """The same n texts through both models, and their tokens where both split a text into the same ones."""

    source: Vectors  # (n, source width): pooled vectors, int16 of scale 32767 or floats
    target: Vectors  # (n, width)
    tokens: TokenPairs | None = None


def word_directions(artifact: Artifact, ids: NDArray[np.int32]) -> NDArray[np.int16]:
    """Return the word embeddings of tokens as directions, scale 32767: (m,) to int16 (m, hidden)."""
    distinct, places = np.unique(ids, return_inverse=True)
    return directions(artifact.words[distinct].astype(np.int64))[places]


def match_tokens(source: CanonicalEncoder, target: CanonicalEncoder) -> NDArray[np.int32]:
    """Find the target's id of every token of the source: the same string, or the same part in framing a text.

    Returns
    -------
    int32, shape (source vocabulary,)
        The target's id for unknown words where it has no such token.
    """
    ours, theirs = source.tokenizer.untruncated(), target.tokenizer.untruncated()
    # A letter that no vocabulary holds shows the ids of unknown words, and of what frames a text, where both have them.
    frames = [tokenizer.encode("\U0010fffd").ids for tokenizer in (ours, theirs)]
    unknown = frames[1][len(frames[1]) // 2]
    ids = np.full(len(source.artifact.words), unknown, np.int32)
    known = theirs.get_vocab()
    for token, index in ours.get_vocab().items():
        if index < len(ids):
            ids[index] = known.get(token, unknown)
    if len(frames[0]) == len(frames[1]):
        ids[frames[0]] = frames[1]
    return ids


def canonical_pairs(
    source: CanonicalEncoder,
    target: CanonicalEncoder,
    texts: Sequence[str],
    token_ids: NDArray[np.int32],
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[Pairs]:
    """Run texts through both models, some hundred at a time.

    Parameters
    ----------
    token_ids : int32, shape (source vocabulary,)
        As `match_tokens` gives them; token states of a text are taken where both models split it into the same tokens.
    on_progress : callable, optional
        Called with the number of texts done since the last call.

    Raises
    ------
    InputError
        A text is not a string, or is empty.
    """
    want = Want.POOLED | Want.TOKENS
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        ours, theirs = source.encode(part, want, on_progress=on_progress), target.encode(part, want)
        same = [place for place in range(len(part)) if np.array_equal(token_ids[ours.ids[place]], theirs.ids[place])]
        if not same:
            yield Pairs(ours.pooled, theirs.pooled)
            continue
        tokens = TokenPairs(
            np.concatenate([ours.tokens[place] for place in same]),
            word_directions(source.artifact, np.concatenate([ours.ids[place] for place in same])),
            np.concatenate([theirs.tokens[place] for place in same]),
        )
        yield Pairs(ours.pooled, theirs.pooled, tokens)
