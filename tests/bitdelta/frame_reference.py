"""BitDelta's ``frame`` family from docs/bitdelta.md, in plain Python integers: slow, shares no code with the package.

Only the tables are read from its files. Run as a program it prints ``docs/vectors/bitdelta_frame.json``.
"""

import json
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import isqrt
from pathlib import Path

import numpy as np
from blake3 import blake3
from safetensors.numpy import load_file, save

DATA = Path(__file__).parents[2] / "src" / "zenso" / "bitdelta" / "data"
MANTISSAS = [128, 140, 152, 166, 181, 197, 215, 235]
TABLES = load_file(DATA / "trellis.safetensors")["tables"].tolist()


@dataclass
class Book:
    rotation: list
    bases: list
    dims: list
    steps: list
    weights: list
    passes: list
    blocks: list
    tables: list

    @classmethod
    def of(cls, tensors):
        return cls(**{name: tensors[name].tolist() for name in cls.__annotations__})

    def visits(self, size):
        """Passes of (dimension, step, weight), each with its table."""
        starts = [0, *accumulate(self.passes)]
        number = 0
        for block, count in enumerate(self.blocks):
            if starts[number] // 8 >= size - 4:
                return
            for start, end in pairwise(starts[number : number + count + 1]):
                rows = zip(self.dims[start:end], self.steps[start:end], self.weights[start:end], strict=True)
                yield list(rows), TABLES[self.tables[block]]
            number += count


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def opened(vector, book):
    """Base row, gain and the residual in units of 2^-24."""
    distances = [sum((x - b) ** 2 for x, b in zip(vector, row, strict=True)) for row in book.bases]
    base = distances.index(min(distances))
    gains = [g for g in range(184) if MANTISSAS[g % 8] ** 2 << 2 * (g // 8) <= distances[base] << 14]
    gain = max(gains, default=0)
    difference = [x - b for x, b in zip(vector, book.bases[base], strict=True)]
    divisor = MANTISSAS[gain % 8] << gain // 8
    return base, gain, [(dot(row, difference) << 16) // divisor for row in book.rotation]


def best_bits(residual, rows, table, window):
    """Cheapest bits of a pass: dynamic programming over the last eight bits; ties go to the lower window before."""
    coarse = [(entry + 64) >> 7 for entry in table]
    costs = {window: 0}
    came_from = []
    for dim, step, weight in rows:
        target = max(-6144, min(6144, (residual[dim] << 10) // step))
        pull = target * weight >> 4
        reached, arrows = {}, {}
        for before in sorted(costs):
            for bit in (0, 1):
                after = before >> 1 | bit << 7
                cost = costs[before] + coarse[after] ** 2 * weight - coarse[after] * pull
                if after not in reached or cost < reached[after]:
                    reached[after], arrows[after] = cost, before
        costs = reached
        came_from.append(arrows)
    at = min(costs, key=lambda w: (costs[w], w))
    windows = []
    for arrows in reversed(came_from):
        windows.append(at)
        at = arrows[at]
    return windows[::-1]


def correction(whole, scale, said):
    products, squares = dot(whole, said) >> 10, dot(said, said) >> 10
    nearest = 256 if squares == 0 else (products * scale + (squares >> 1)) // squares
    return max(0, min(255, nearest - 128))


def encode(vector, size, book):
    base, gain, whole = opened(vector, book)
    left, window, bits = list(whole), 0, []
    for rows, table in book.visits(size):
        windows = best_bits(left, rows, table, window)
        for (dim, step, _), chosen in zip(rows, windows, strict=True):
            left[dim] -= step * table[chosen] >> 12
            bits.append(chosen >> 7)
        window = windows[-1]
    said = [w - r for w, r in zip(whole, left, strict=True)]
    body = [sum(bit << i for i, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)]
    return bytes([0x21, base, gain, correction(whole, 256, said), *body])


def said_by(code, book):
    total, window, visit = [0] * len(book.rotation), 0, 0
    for rows, table in book.visits(len(code)):
        for dim, step, _ in rows:
            window = window >> 1 | (code[4 + visit // 8] >> visit % 8 & 1) << 7
            total[dim] += step * table[window] >> 12
            visit += 1
    return total


def decode(code, book):
    """The vector in units of int16, as floats."""
    scale = MANTISSAS[code[2] % 8] * 2.0 ** (code[2] // 8 - 7) * (code[3] + 128) / 256 / 2**24 / 2**15
    said, columns = said_by(code, book), zip(*book.rotation, strict=True)
    return [base + scale * dot(said, column) for base, column in zip(book.bases[code[1]], columns, strict=True)]


def prefix(code, size, book):
    cut = bytearray(code[:size])
    if size < len(code):
        cut[3] = correction(said_by(code, book), code[3] + 128, said_by(cut, book))
    return bytes(cut)


def score(query, code, book):
    rotated = [dot(row, query) >> 8 for row in book.rotation]
    total, window, visit = 0, 0, 0
    for rows, table in book.visits(len(code)):
        for dim, step, _ in rows:
            window = window >> 1 | (code[4 + visit // 8] >> visit % 8 & 1) << 7
            total += table[window] * (step * rotated[dim] >> 16)
            visit += 1
    scaled = (total >> 6) * (code[3] + 128) * MANTISSAS[code[2] % 8]
    return dot(query, book.bases[code[1]]) + (scaled >> 36 - code[2] // 8)


def untrained_rotation(width):
    """Sign flips and a Hadamard matrix over the leading, then over the trailing coordinates."""
    size = 1 << width.bit_length() - 1
    columns = [[(row == column) << 24 for column in range(width)] for row in range(width)]
    for number, start in enumerate((0, width - size)):
        stream = blake3(b"zenso bitdelta frame %d" % number).digest(length=-(-width // 8))
        for column in columns:
            flipped = [-v if stream[i // 8] >> i % 8 & 1 else v for i, v in enumerate(column)]
            part = flipped[start : start + size]
            turned = [sum(-v if (i & j).bit_count() % 2 else v for j, v in enumerate(part)) for i in range(size)]
            flipped[start : start + size] = [v * isqrt((1 << 60) // size) >> 30 for v in turned]
            column[:] = flipped
    return [[max(-32767, min(32767, (column[row] + 256) >> 9)) for column in columns] for row in range(width)]


def untrained(width):
    """The codebook of a width of which nothing is known."""
    book = Book(untrained_rotation(width), [[0] * width], [], [], [], [], [], [])
    filled = -(-width // 8) * 8
    visited = [0] * width
    steps = [isqrt((1 << 48) // width)]
    while len(steps) < 20 * 8:
        steps.append(max(1, steps[-1] * 5 // 8))
    for block in range(20):
        counts = [width] * (filled // width) + [filled % width] * (filled % width > 0)
        for count in counts:
            for place in range(count):
                dim = (place - block * (5 * count // 13 + 1)) % count
                book.dims.append(dim)
                book.steps.append(steps[visited[dim]])
                book.weights.append(1 + (6000 - count) // count)
                visited[dim] += 1
        book.passes += counts
        book.blocks.append(len(counts))
        book.tables.append(min(block, 1))
    return book


def digest(book):
    """BLAKE3 of a codebook's file."""
    types = dict(zip(Book.__annotations__, ("i2", "i2", "u2", "i4", "u2", "u4", "u4", "u1"), strict=True))
    return blake3(save({name: np.array(getattr(book, name), kind) for name, kind in types.items()})).hexdigest()


def formula_vector(width, multiplier, offset, modulus):
    """A vector that any language can make again."""
    return [(multiplier * n + offset) % modulus - modulus // 2 for n in range(width)]


CASES = [
    {"multiplier": 7919, "offset": 1, "modulus": 65535},
    {"multiplier": 104729, "offset": 32768, "modulus": 4001},
    {"multiplier": 1, "offset": 0, "modulus": 3},
    {"multiplier": 0, "offset": 0, "modulus": 1},
]
QUERY = {"multiplier": 611953, "offset": 17, "modulus": 3999}
UNTRAINED_WIDTH, UNTRAINED_SIZES = 20, [7, 10, 64]
SHIPPED, SHIPPED_SIZES = "all-MiniLM-L6-v2", [52, 148]


def section(book, width, sizes):
    query = formula_vector(width, **QUERY)
    cases = []
    for case in CASES:
        codes = [encode(formula_vector(width, **case), size, book) for size in sizes]
        cases.append(
            {
                "vector": case,
                "codes": [code.hex() for code in codes],
                "scores": [score(query, code, book) for code in codes],
                "prefix": prefix(codes[-1], sizes[0], book).hex(),
            }
        )
    return {"width": width, "sizes": sizes, "query": QUERY, "cases": cases}


def vectors():
    plain, shipped = untrained(UNTRAINED_WIDTH), Book.of(load_file(DATA / f"{SHIPPED}.safetensors"))
    return {
        "format": "BitDelta, family frame, version 1",
        "vectors": "number n is ((multiplier * n + offset) mod modulus) - floor(modulus / 2)",
        "prefix": "the last code, cut to the first size",
        "trellis_blake3": blake3((DATA / "trellis.safetensors").read_bytes()).hexdigest(),
        "untrained": {
            "codebook_blake3": digest(plain),
            "rotation": plain.rotation,
            **{name: getattr(plain, name) for name in ("dims", "steps", "weights", "passes", "blocks", "tables")},
            **section(plain, UNTRAINED_WIDTH, UNTRAINED_SIZES),
        },
        SHIPPED: {"codebook_blake3": digest(shipped), **section(shipped, len(shipped.rotation), SHIPPED_SIZES)},
    }


def document():
    """One line for each of the long lists."""
    content = vectors()
    for part in ("untrained", SHIPPED):
        content[part] = {key: json.dumps(value) for key, value in content[part].items()}
    text = json.dumps(content, indent=2)
    for part in ("untrained", SHIPPED):
        for value in content[part].values():
            text = text.replace(json.dumps(value), value)
    return text + "\n"


if __name__ == "__main__":
    print(document(), end="")
