"""Family ``frame``: any vector of a width d, in as many bits as wanted; every block more makes the code finer.

A vector x is a base row plus a rotated sum of steps: ``x ~ base + correction * gain * R^T u``, where each bit adds
``step * table[window]`` to one coordinate of u (see ``trellis``). Which coordinate a bit visits, and with which step,
is fixed by the codebook: often where the training vectors vary much, seldom or never where they do not. A later visit
to a coordinate says what the earlier ones left over, so that a code cut after any block is a code.

Encoding is integer arithmetic from int16 vectors to bytes, so a code can be made again anywhere and compared. The
bounds: |R (x - base)| < 2^38, because differences are below 2^16, widths at most 2^12 and rows of R shorter than 2^16;
the codebook promises that what the bits say is shorter than 2^29 whatever they are; and a residual u is shorter than
2^26, because the gain is at most one eighth of an octave below the length it stands for.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta.codebook import FrameCodebook
from zenso.bitdelta.format import HEADER_BYTES
from zenso.bitdelta.frame_format import (
    CORRECTION_LEAST,
    CORRECTION_ONE,
    FRAME_FIRST_BYTE,
    GAINS,
    MANTISSAS,
    check_headers,
)
from zenso.bitdelta.trellis import TABLE_UNIT_BITS, cost_tables, run_pass, tables
from zenso.bitdelta.visits import ROTATION_BITS, UNIT_BITS
from zenso.errors import InputError

_ROWS_AT_ONCE = 256  # rows that a thread takes at a time
_QUERY_SHIFT = 8  # a rotated query keeps 7 of the rotation's 15 bits
_MAX_QUERY = 1 << 32  # square of a query's length
_FACTOR_SHIFT = 16
_SUM_SHIFT = 6

Int64 = NDArray[np.int64]
Int16 = NDArray[np.int16]
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class _Plan:
    """The part of a codebook that codes of a size use, as the kernels take it."""

    visits: Int64  # (3, n): dimensions, steps and weights
    passes: Int64  # (p, 2): where each pass ends, and its table

    @classmethod
    def of(cls, book: FrameCodebook, size: int) -> "_Plan":
        blocks = book.block_count(size)
        pass_tables = np.repeat(book.tables[:blocks].astype(np.int64), book.blocks[:blocks])
        ends = np.cumsum(book.passes[: len(pass_tables)].astype(np.int64))
        visits = np.stack([part[: ends[-1]].astype(np.int64) for part in (book.dims, book.steps, book.weights)])
        return cls(visits, np.stack([ends, pass_tables], axis=1))


def encode(vectors: NDArray[np.int16], size: int, codebook: FrameCodebook, *, threads: int = 1) -> Codes:
    """Encode vectors.

    Parameters
    ----------
    vectors : int16, shape (n, d)
        Directions have scale 32767, as `zenso.canonical.quantise` gives them; any other length will do as well.
    size : int
        Bytes of a code: one of ``codebook.sizes``.
    codebook : FrameCodebook
        Of the same width d.
    threads : int
        Threads that share the rows; the codes do not depend on it.

    Returns
    -------
    uint8, shape (n, size)

    Raises
    ------
    InputError
        The vectors are of another type, shape or width, or the codebook has no codes of this size.
    """
    if vectors.ndim != 2 or vectors.shape[1] != codebook.width or vectors.dtype != np.int16:
        message = f"vectors must be int16 of shape (n, {codebook.width}), not {vectors.dtype} {vectors.shape}"
        raise InputError(message)
    plan = _Plan.of(codebook, size)
    codes = np.empty((len(vectors), size), np.uint8)
    rows = np.ascontiguousarray(vectors)
    fine, coarse = tables(), cost_tables()

    def work(start: int, stop: int) -> None:
        part = codes[start:stop]
        _encode_rows(rows[start:stop], codebook.rotation, codebook.bases, plan.visits, plan.passes, fine, coarse, part)

    _share(work, len(rows), threads)
    return codes


def decode(codes: Codes, codebook: FrameCodebook) -> NDArray[np.float32]:
    """Decode to the vectors that the codes say, as unit-scale floats: 32767 of the int16 vectors is 1.

    Parameters
    ----------
    codes : uint8, shape (n, size)

    Returns
    -------
    float32, shape (n, d)

    Raises
    ------
    InputError
        The codes have another type or shape, or a size that the codebook does not make.
    IntegrityError
        A code is of another family or version, or names a base row or gain that there is not.
    """
    codes = _checked(codes, codebook)
    said = _said(codes, codebook)
    gain = MANTISSAS[codes[:, 2] % 8].astype(np.float64) * np.exp2(codes[:, 2] // 8 - 7.0)
    correction = (codes[:, 3].astype(np.float64) + CORRECTION_LEAST) / CORRECTION_ONE
    scale = gain * correction / (1 << UNIT_BITS) / (1 << ROTATION_BITS)
    out = np.empty((len(codes), codebook.width), np.float32)
    rotation = codebook.rotation.astype(np.float64)
    for start in range(0, len(codes), 4096):  # bounds the memory of the float64 copies
        part = slice(start, start + 4096)
        bases = codebook.bases[codes[part, 1]].astype(np.float64)
        out[part] = (bases + (said[part].astype(np.float64) @ rotation) * scale[part, None]) / 32767.0
    return out


def prefix_frames(codes: Codes, size: int, codebook: FrameCodebook) -> Codes:
    """Cut codes to a shorter size, and correct their scale for what the shorter ones say.

    The bits are those that encoding to the shorter size gives. A code that is only cut is valid too; its scale is then
    that of the longer code, which ranks a little worse.

    Parameters
    ----------
    codes : uint8, shape (n, longer size)
    size : int
        One of ``codebook.sizes``, at most the size of the codes.
    codebook : FrameCodebook

    Returns
    -------
    uint8, shape (n, size)

    Raises
    ------
    InputError
        The codes are shorter, or have a type, shape or size that the codebook does not make.
    IntegrityError
        A code is of another family or version, or names a base row or gain that there is not.
    """
    codes = _checked(codes, codebook)
    codebook.block_count(size)
    if size > codes.shape[1]:
        message = f"codes of {codes.shape[1]} bytes cannot be cut to {size}; encode the vectors again"
        raise InputError(message)
    cut = codes[:, :size].copy()
    if size < codes.shape[1]:
        whole, said = _said(codes, codebook), _said(cut, codebook)
        for row, code in enumerate(cut):
            code[3] = _correction(whole[row], int(codes[row, 3]) + CORRECTION_LEAST, said[row])
    return cut


@dataclass(frozen=True)
class FrameQuery:
    """A query, rotated once and folded into the steps of a codebook."""

    codebook: FrameCodebook
    factors: Int64  # (visits,): what a table's entry is multiplied by at each visit
    bases: Int64  # (rows,): products with the base rows

    @classmethod
    def of(cls, vector: NDArray[np.integer], codebook: FrameCodebook) -> "FrameQuery":
        """Prepare a query vector.

        Parameters
        ----------
        vector : int16, shape (d,)
            A direction, scale 32767; its length at most 65,536.

        Raises
        ------
        InputError
            It has another type or shape, or is longer.
        """
        if vector.shape != (codebook.width,) or vector.dtype != np.int16:
            message = f"a query must be int16 of shape ({codebook.width},), not {vector.dtype} {vector.shape}"
            raise InputError(message)
        wide = vector.astype(np.int64)
        if int(wide @ wide) > _MAX_QUERY:
            message = f"the query is {int(wide @ wide) ** 0.5:.0f} long; scale it to 65,536 at most (32,767 is usual)"
            raise InputError(message)
        # Below 2^24 in length; a product with a step is below 2^51.
        rotated = (codebook.rotation.astype(np.int64) @ wide) >> _QUERY_SHIFT
        factors = (codebook.steps.astype(np.int64) * rotated[codebook.dims]) >> _FACTOR_SHIFT
        return cls(codebook, factors, codebook.bases.astype(np.int64) @ wide)


def score_frames(
    query: FrameQuery, codes: Codes, rows: NDArray[np.integer] | None = None, *, threads: int = 1
) -> Int64:
    """Multiply a query with what codes say, in integers: about the dot product of the int16 vectors.

    Parameters
    ----------
    codes : uint8, shape (n, size)
    rows : integers, shape (m,), optional
        Which codes to score; all by default.
    threads : int
        Threads that share the rows; the scores do not depend on it.

    Returns
    -------
    int64, shape (m,)

    Raises
    ------
    InputError
        The codes have another type or shape, or a size that the codebook does not make, or there is no such row.
    IntegrityError
        A code is of another family or version, or names a base row or gain that there is not.
    """
    book = query.codebook
    codes = _checked(codes, book)
    if rows is not None:
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            message = f"rows must be integers of shape (m,), not {rows.dtype} {rows.shape}"
            raise InputError(message)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(codes):
            message = f"rows lie within {rows.min()} to {rows.max()}, but there are {len(codes)} codes"
            raise InputError(message)
        codes = codes[rows]
    byte_counts = np.diff(book.sizes, prepend=HEADER_BYTES)
    byte_tables = np.repeat(book.tables.astype(np.int64), byte_counts)
    out = np.empty(len(codes), np.int64)
    wide = tables().astype(np.int64)  # in this type the kernel reads them fastest

    def work(start: int, stop: int) -> None:
        _score_rows(codes[start:stop], query.factors, query.bases, byte_tables, wide, out[start:stop])

    _share(work, len(codes), threads)
    return out


def _checked(codes: Codes, codebook: FrameCodebook) -> Codes:
    """Return the codes in one piece of memory, once their size and every header have been checked."""
    check_headers(codes, len(codebook.bases))
    codebook.block_count(codes.shape[1])
    return np.ascontiguousarray(codes)


def residuals(vectors: Int16, rotation: Int16, bases: Int16) -> Int64:
    """Return what is left of vectors after base row and gain, rotated: int64 (n, d), about 2^24 long.

    Training starts from here, as encoding does.
    """
    out = np.empty(vectors.shape, np.int64)
    header = np.empty(HEADER_BYTES, np.uint8)
    for row, target in zip(vectors, out, strict=True):
        _open_row(row, rotation, bases, header, target)
    return out


def _said(codes: Codes, book: FrameCodebook) -> Int64:
    """Sum up what the bits add to each coordinate, int64 (n, d)."""
    plan = _Plan.of(book, codes.shape[1])
    out = np.zeros((len(codes), book.width), np.int64)
    _sum_rows(codes, plan.visits, plan.passes, tables(), out)
    return out


def _share(work: Callable[[int, int], None], rows: int, threads: int) -> None:
    """Run ``work(start, stop)`` over all rows. Not numba's own threads: those may not be used from two at once."""
    if threads < 1:
        message = f"threads is {threads}; it must be at least 1"
        raise InputError(message)
    starts = range(0, rows, _ROWS_AT_ONCE)
    if threads == 1 or len(starts) < 2:
        work(0, rows)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="zenso-frame") as pool:
        list(pool.map(lambda start: work(start, min(start + _ROWS_AT_ONCE, rows)), starts))


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _open_row(vector: Int16, rotation: Int16, bases: Int16, header: Codes, residual: Int64) -> None:
    """Choose base row and gain of one vector; fill the header and what is left."""
    width = len(vector)
    base, least = 0, np.int64(-1)
    for b in range(len(bases)):
        total = np.int64(0)
        for i in range(width):
            total += (np.int64(vector[i]) - bases[b, i]) ** 2
        if least < 0 or total < least:
            base, least = b, total
    gain = GAINS - 1  # the greatest that is not longer than the difference; 0 if none
    while gain > 0 and (MANTISSAS[gain % 8] ** 2) << (2 * (gain // 8)) > least << 14:
        gain -= 1
    header[0], header[1], header[2], header[3] = FRAME_FIRST_BYTE, base, gain, CORRECTION_LEAST
    difference = np.empty(width, np.int32)
    for i in range(width):
        difference[i] = np.int32(vector[i]) - np.int32(bases[base, i])
    divisor = MANTISSAS[gain % 8] << (gain // 8)
    for i in range(width):
        total = np.int64(0)
        for j in range(width):
            total += np.int64(rotation[i, j]) * np.int64(difference[j])
        residual[i] = (total << (UNIT_BITS - ROTATION_BITS + 7)) // divisor


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _correction(whole: Int64, scale: int, said: Int64) -> int:
    """Return byte 3 for what the bits say, where ``whole * scale / 256`` is what they should have said."""
    dot, square = np.int64(0), np.int64(0)
    for i in range(len(whole)):
        dot += whole[i] * said[i]
        square += said[i] * said[i]
    # Both below 2^58; without their last ten bits they may be multiplied by a scale below 2^9.
    dot, square = dot >> 10, square >> 10
    nearest = CORRECTION_ONE if square == 0 else int((dot * scale + (square >> 1)) // square)
    return min(max(nearest - CORRECTION_LEAST, 0), 255)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _encode_rows(
    vectors: Int16,
    rotation: Int16,
    bases: Int16,
    visits: Int64,
    passes: Int64,
    tables: Int16,
    coarse: NDArray[np.int32],
    codes: Codes,
) -> None:
    whole = np.empty(vectors.shape[1], np.int64)
    windows = np.empty(visits.shape[1], np.uint8)
    for row in range(len(vectors)):
        _open_row(vectors[row], rotation, bases, codes[row], whole)
        left = whole.copy()
        window, start = 0, 0
        for end, t in passes:
            window = run_pass(left, window, visits[:, start:end], tables[t], coarse[t], windows[start:end])
            start = end
        for byte in range(len(windows) // 8):
            # The latest of eight visits looks back over just these eight bits.
            codes[row, HEADER_BYTES + byte] = windows[8 * byte + 7]
        codes[row, 3] = _correction(whole, CORRECTION_ONE, whole - left)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _sum_rows(codes: Codes, visits: Int64, passes: Int64, tables: Int16, out: Int64) -> None:
    for row in range(len(codes)):
        window, start = 0, 0
        for end, t in passes:
            for v in range(start, end):
                bit = (codes[row, HEADER_BYTES + v // 8] >> (v % 8)) & 1
                window = window >> 1 | bit << 7
                out[row, visits[0, v]] += (visits[1, v] * tables[t, window]) >> TABLE_UNIT_BITS
            start = end


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _score_rows(
    codes: Codes, factors: Int64, base_products: Int64, byte_tables: Int64, tables: Int64, out: Int64
) -> None:
    for row in range(len(codes)):
        # By Cauchy-Schwarz below 2^29 * 2^24 * 2^(12 - 16) and what rounding down adds, so below 2^50.
        total, pair = np.int64(0), np.int64(0)
        for byte in range(codes.shape[1] - HEADER_BYTES):
            pair = pair >> 8 | np.int64(codes[row, HEADER_BYTES + byte]) << 8  # this byte above the one before it
            table, f = tables[byte_tables[byte]], factors[8 * byte : 8 * byte + 8]
            # Written out, because a loop over the eight windows takes twice as long.
            total += table[(pair >> 1) & 255] * f[0] + table[(pair >> 2) & 255] * f[1]
            total += table[(pair >> 3) & 255] * f[2] + table[(pair >> 4) & 255] * f[3]
            total += table[(pair >> 5) & 255] * f[4] + table[(pair >> 6) & 255] * f[5]
            total += table[(pair >> 7) & 255] * f[6] + table[pair >> 8] * f[7]
        correction = np.int64(codes[row, 3]) + CORRECTION_LEAST
        octave = np.int64(codes[row, 2] // 8)
        # total is 2^-4 of the products of coordinates; scale, gain, unit and rotation are 2^(8 + 7 + 24 + 15 - 8).
        scaled = (total >> _SUM_SHIFT) * correction * MANTISSAS[codes[row, 2] % 8]
        out[row] = base_products[codes[row, 1]] + (scaled >> (36 - octave))
