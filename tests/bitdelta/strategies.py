"""Texts of every kind that a code has to survive, as pooled vectors, token states and weights."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tests.bitdelta import reference
from zenso.bitdelta import SlotBasis

PROJECTION = np.array(reference.formula(128, 384, **reference.PROJECTION), np.int16)
BASIS = SlotBasis(PROJECTION, reference.SHARE, np.array(reference.UNITS, np.int32))
KINDS = ("random", "alike", "one axis", "tiny", "zero", "repeated")


@dataclass
class Text:
    """Pooled vector (384,), token states (m, 384) and weights (m,)."""

    vector: np.ndarray
    tokens: np.ndarray
    weights: np.ndarray

    @property
    def plain(self):
        """The same in lists, for the reference."""
        return self.vector.tolist(), self.tokens.tolist(), self.weights.tolist()


def directions(rows):
    rows = np.asarray(rows, float)
    return np.rint(rows / np.linalg.norm(rows, axis=-1, keepdims=True) * 32767).astype(np.int16)


def make_text(kind, seed, count=12):
    """Make a text of ``count`` tokens."""
    rng = np.random.default_rng(seed)
    tokens = directions(rng.standard_normal((count, 384)))
    if kind == "alike":
        tokens = directions(rng.standard_normal(384) + 0.1 * rng.standard_normal((count, 384)))
    if kind == "one axis":
        tokens = np.zeros((count, 384), np.int16)
        tokens[np.arange(count), rng.integers(0, 384, count)] = rng.choice([-32767, 32767], count)
    if kind == "tiny":
        tokens = rng.integers(-1, 2, (count, 384)).astype(np.int16)
    if kind == "zero":
        tokens = np.zeros((count, 384), np.int16)
    if kind == "repeated":
        tokens = tokens[rng.integers(0, min(3, count), count)]
    total = tokens.astype(np.int64).sum(axis=0)
    vector = directions(total) if total.any() else np.zeros(384, np.int16)
    return Text(vector, tokens, rng.integers(1, 256, count))


seeds = st.integers(0, 2**32 - 1)
texts = st.builds(make_text, st.sampled_from(KINDS), seeds, st.integers(1, 20))


def random_codes(count, seed=0):
    """Make codes (count, 964) with a valid header and random bits."""
    codes = np.random.default_rng(seed).integers(0, 256, (count, 964), np.uint8)
    codes[:, 0] = 0x12
    codes[:, 1] %= 58
    return codes
