"""BitDelta's ``slots`` family from its definition, in plain Python integers: slow, and shares nothing with the package.

Run as a program it prints ``docs/vectors/bitdelta_slots.json``.
"""

import json
import operator
import struct
from functools import cache
from math import pi, sqrt

from blake3 import blake3

WIDTH, GROUP, GROUPS = 384, 128, 57
PLANES, ROUNDS, SCAN_UNIT = 4, 4, 53
ROOM = {244: 12, 484: 27, 964: 57}


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


@cache
def rotation_columns():
    return list(zip(*rotation(), strict=True))


def dot(a, b):
    return sum(map(operator.mul, a, b))


def rotate(vector):
    return [dot(row, vector) for row in rotation()]


def sign(value):
    return 1 if value > 0 else -1


def base_of(first, share):
    """What is taken from each token, from the signs of slot 0."""
    return [share * dot(column, first) for column in rotation_columns()]


def project(vector, base, projection):
    return [(dot(row, vector) - dot(row, base)) >> 15 for row in projection]


def first_largest(values):
    return max(range(len(values)), key=lambda i: (values[i], -i))


def group(tokens, weights, limit=GROUPS):
    """k-means with signs as centres: the groups in order of importance, and how well they serve the tokens."""
    whole = [sum(map(abs, token)) for token in tokens]
    groups, lacking = [], list(whole)
    while len(groups) < limit:
        worst = first_largest(list(map(operator.mul, weights, lacking)))
        if weights[worst] * lacking[worst] == 0:
            break
        groups.append([sign(value) for value in tokens[worst]])
        lacking = [
            min(lacks, total - dot(t, groups[-1])) for lacks, total, t in zip(lacking, whole, tokens, strict=True)
        ]
    for _ in range(ROUNDS):
        sums = {}
        for token, weight in zip(tokens, weights, strict=True):
            if groups:
                best = first_largest([dot(token, signs) for signs in groups])
                old = sums.get(best, [0] * len(token))
                sums[best] = [total + weight * value for total, value in zip(old, token, strict=True)]
        for place, total in sums.items():
            groups[place] = [sign(value) for value in total]
    ordered, best = [], [0] * len(tokens)
    while True:
        gains = [
            sum(w * max(0, dot(t, signs) - b) for w, t, b in zip(weights, tokens, best, strict=True))
            for signs in groups
        ]
        if not any(gains):
            return ordered, dot(weights, best)
        chosen = groups[first_largest(gains)]
        ordered.append(chosen)
        best = [max(b, dot(t, chosen)) for t, b in zip(tokens, best, strict=True)]


def encode(vector, tokens, weights, projection, share):
    first = [sign(value) for value in rotate(vector)]
    base = base_of(first, share)
    groups, served = group([project(token, base, projection) for token in tokens], weights)
    scale = min(served // max(1, GROUP * sum(weights)), 65535)
    code = bytearray([0x12, len(groups), scale % 256, scale // 256]) + bytes(960)
    for position, value in enumerate(first + [value for signs in groups for value in signs]):
        if value > 0:
            code[4 + position // 8] |= 1 << position % 8
    return bytes(code)


def prefix(code, length):
    return bytes([code[0], min(code[1], ROOM[length])]) + code[2:length]


def signs(code, start, count):
    return [1 if code[4 + i // 8] >> i % 8 & 1 else -1 for i in range(start, start + count)]


def groups_of(code):
    return [signs(code, WIDTH + GROUP * g, GROUP) for g in range(code[1])]


def decode(code):
    """Float32 values; the one rounding is from binary64 to binary32."""
    first = signs(code, 0, WIDTH)
    values = [dot(column, first) * (sqrt(2 / pi) / WIDTH) for column in rotation_columns()]
    values += [value * ((code[2] + 256 * code[3]) / 16384) for g in groups_of(code) for value in g]
    values += [0.0] * ((len(code) - 4) * 8 - len(values))
    return [struct.unpack("f", struct.pack("f", value))[0] for value in values]


def quantise(values):
    """Cut to odd multiples of a step: 2 * floor(y / 2 step) + 1, at most 15 away from zero."""
    levels = 2**PLANES - 1
    step = max(1, (max(map(abs, values)) + levels) // (levels + 1))
    return step, [max(-levels, min(levels, 2 * (value // (2 * step)) + 1)) for value in values]


def scan(tokens, weights, code, unit=SCAN_UNIT):
    """The part of a score that slot 0 gives."""
    total = [dot(weights, column) for column in zip(*tokens, strict=True)]
    step, multiples = quantise(rotate(total))
    return unit * step * dot(multiples, signs(code, 0, WIDTH))


def score(tokens, weights, projection, units, code):
    slot_unit, group_unit = units[sorted(ROOM).index(len(code))]
    heard = [(t, w) for t, w in zip(tokens, weights, strict=True) if w]
    total = scan([t for t, _ in heard], [w for _, w in heard], code, slot_unit)
    groups = groups_of(code)
    for token, weight in heard if groups else []:
        step, multiples = quantise(project(token, [0] * WIDTH, projection))
        total += group_unit * weight * step * max(dot(multiples, g) for g in groups)
    return total


def formula(count, width, multiplier, offset, modulus):
    """Rows that any language can make again: ((multiplier * n + offset) mod modulus) - floor(modulus / 2)."""
    values = [(multiplier * n + offset) % modulus - modulus // 2 for n in range(count * width)]
    return [values[row * width : (row + 1) * width] for row in range(count)]


def formula_text(tokens, multiplier, offset, modulus):
    """A pooled vector, tokens and weights."""
    pooled, *states = formula(tokens + 1, WIDTH, multiplier, offset, modulus)
    return pooled, states, [1 + n * 37 % 255 for n in range(tokens)]


SHARE = 31
UNITS = [[53, 1800], [40, 4500], [61, 7200]]
PROJECTION = {"multiplier": 48271, "offset": 11, "modulus": 1601}
CASES = [
    {"tokens": 9, "multiplier": 7919, "offset": 1, "modulus": 2003},
    {"tokens": 70, "multiplier": 104729, "offset": 800, "modulus": 2801},
    {"tokens": 3, "multiplier": 1, "offset": 0, "modulus": 3},
    {"tokens": 2, "multiplier": 0, "offset": 0, "modulus": 1},
]
QUERY = {"tokens": 4, "multiplier": 611953, "offset": 17, "modulus": 2801}


def vectors():
    projection = formula(GROUP, WIDTH, **PROJECTION)
    _, tokens, weights = formula_text(**QUERY)
    weights[2] = 0
    documents = []
    for case in CASES:
        code = encode(*formula_text(**case), projection, SHARE)
        found = {str(length): score(tokens, weights, projection, UNITS, prefix(code, length)) for length in ROOM}
        documents.append({"text": case, "code": code.hex(), "scores": found})
    return {
        "format": "BitDelta, family slots, version 2",
        "numbers": "row r, coordinate i is ((multiplier * n + offset) mod modulus) - floor(modulus / 2), n = 384 r + i",
        "text": "row 0 is the pooled vector, the others are tokens; token t has weight 1 + (37 t mod 255)",
        "negative_flips": "".join("1" if flip < 0 else "0" for flip in flips()),
        "projection": PROJECTION,
        "share": SHARE,
        "units": UNITS,
        "query": {"text": QUERY, "weights": weights},
        "documents": documents,
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=2))
