"""BitDelta's ``slots`` family from its definition, in plain Python integers: slow, and shares nothing with the package.

Run as a program it prints ``docs/vectors/bitdelta_slots.json``.
"""

import json
import operator
import struct
from functools import cache

from blake3 import blake3

SLOTS, WIDTH = 20, 384
PLANES = 4


def kronecker(a, b):
    return [[x * y for x in row_a for y in row_b] for row_a in a for row_b in b]


def paley(prime=11):
    """Paley's first construction: identity plus a bordered matrix of Legendre symbols."""
    squares = {x * x % prime for x in range(1, prime)}

    def legendre(x):
        return 0 if x % prime == 0 else 1 if x % prime in squares else -1

    skew = [[0] + [1] * prime]
    skew += [[-1] + [legendre(column - row) for column in range(prime)] for row in range(prime)]
    return [[value + (row == column) for column, value in enumerate(line)] for row, line in enumerate(skew)]


@cache
def hadamard():
    matrix = paley()
    for _ in range(5):  # 12 * 2^5 = 384: Paley is the outermost factor
        matrix = kronecker(matrix, [[1, 1], [1, -1]])
    return matrix


@cache
def flips():
    stream = blake3(b"zenso bitdelta rotation 1").digest(length=WIDTH // 8)
    return [-1 if stream[i // 8] >> i % 8 & 1 else 1 for i in range(WIDTH)]


@cache
def rotation():
    return [list(map(operator.mul, row, flips())) for row in hadamard()]


def rotate(vector):
    return [sum(map(operator.mul, row, vector)) for row in rotation()]


def encode(slots):
    rotated = [value for slot in slots for value in rotate(slot)]
    scale = min(sum(map(abs, rotated)) // (SLOTS * WIDTH), 65535)
    code = bytearray([0x11, 0, scale % 256, scale // 256]) + bytes(960)
    for position, value in enumerate(rotated):
        if value > 0:
            code[4 + position // 8] |= 1 << position % 8
    return bytes(code)


def signs(code, slot):
    return [1 if code[4 + 48 * slot + i // 8] >> i % 8 & 1 else -1 for i in range(WIDTH)]


def decode(code):
    """Slots as float32 values; the one rounding is from binary64 to binary32."""
    unit = (code[2] + 256 * code[3]) / 32767 / WIDTH
    columns = list(zip(*rotation(), strict=True))
    integers = [[sum(map(operator.mul, column, signs(code, slot))) for column in columns] for slot in range(SLOTS)]
    return [[struct.unpack("f", struct.pack("f", value * unit))[0] for value in slot] for slot in integers]


def quantise(rotated):
    """Cut a rotated slot to odd multiples of a step: 2 * floor(y / 2 step) + 1, at most 15 away from zero."""
    levels = 2**PLANES - 1
    step = max(1, (max(map(abs, rotated)) + levels) // (levels + 1))
    return step, [max(-levels, min(levels, 2 * (value // (2 * step)) + 1)) for value in rotated]


def score(query, code):
    total = 0
    for slot, values in enumerate(query):
        if any(values):
            step, multiples = quantise(rotate(values))
            total += step * sum(map(operator.mul, multiples, signs(code, slot)))
    return total


def formula_slots(multiplier, offset, modulus):
    """Slots that any language can make again: ((multiplier * n + offset) mod modulus) - modulus // 2."""
    values = [(multiplier * n + offset) % modulus - modulus // 2 for n in range(SLOTS * WIDTH)]
    return [values[slot * WIDTH : (slot + 1) * WIDTH] for slot in range(SLOTS)]


CASES = [
    {"multiplier": 7919, "offset": 1, "modulus": 65535},
    {"multiplier": 104729, "offset": 32768, "modulus": 4001},
    {"multiplier": 1, "offset": 0, "modulus": 3},
    {"multiplier": 0, "offset": 0, "modulus": 1},
]
QUERY = {"multiplier": 611953, "offset": 17, "modulus": 9999991}


def vectors():
    query = formula_slots(**QUERY)
    query[3] = [0] * WIDTH
    documents = []
    for case in CASES:
        code = encode(formula_slots(**case))
        documents.append({"slots": case, "code": code.hex(), "score": score(query, code)})
    return {
        "format": "BitDelta, family slots, version 1",
        "slots": "slot s, coordinate i is ((multiplier * n + offset) mod modulus) - floor(modulus / 2), n = 384 s + i",
        "negative_flips": "".join("1" if flip < 0 else "0" for flip in flips()),
        "query": {"slots": QUERY, "zero_slots": [3]},
        "documents": documents,
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=2))
