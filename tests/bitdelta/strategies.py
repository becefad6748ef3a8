"""Slots of every kind that a code has to survive."""

import numpy as np
from hypothesis import strategies as st

from zenso.bitdelta import SLOT_WIDTH, SLOTS

SHAPE = (SLOTS, SLOT_WIDTH)
KINDS = ("random", "extreme", "tiny", "sparse", "constant", "some slots empty", "unit directions", "zero")


def make_slots(kind, seed, magnitude=32767):
    """Make slots (20, 384) of integers up to a magnitude."""
    rng = np.random.default_rng(seed)
    if kind == "extreme":
        return rng.choice(np.array([-magnitude, magnitude]), SHAPE)
    if kind == "tiny":
        return rng.integers(-1, 2, SHAPE)
    if kind == "constant":
        return np.full(SHAPE, rng.integers(-magnitude, magnitude + 1))
    if kind == "zero":
        return np.zeros(SHAPE, np.int64)
    if kind == "unit directions":
        directions = rng.standard_normal(SHAPE)
        return np.rint(directions / np.linalg.norm(directions, axis=1, keepdims=True) * magnitude).astype(np.int64)
    slots = rng.integers(-magnitude, magnitude + 1, SHAPE)
    if kind == "sparse":
        slots *= rng.random(SHAPE) < 0.01
    if kind == "some slots empty":
        slots[rng.random(SLOTS) < 0.5] = 0
    return slots


seeds = st.integers(0, 2**32 - 1)
document_slots = st.builds(make_slots, st.sampled_from(KINDS), seeds)
# The largest that a query of 256 tokens with weights of 255 can reach.
query_slots = st.builds(make_slots, st.sampled_from(KINDS[:-1]), seeds, st.sampled_from([1, 32767, 255 * 256 * 32767]))


def random_codes(count, seed=0):
    """Make codes (count, 964) with a valid header and random bits."""
    codes = np.random.default_rng(seed).integers(0, 256, (count, 964), np.uint8)
    codes[:, :2] = 0x11, 0
    return codes
