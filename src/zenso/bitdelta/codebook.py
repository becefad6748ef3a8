"""Codebooks of the ``frame`` family: what a code's bits are about.

A codebook is a few integer tables, saved as safetensors:

=========== =============== ===============================================================================
rotation    int16 (d, d)    rows are the new axes, 32768 times an orthogonal matrix (32767 at most)
bases       int16 (r, d)    base rows, 1 to 256, in the unit of the vectors
dims        uint16 (n,)     the coordinate that each bit visits
steps       int32 (n,)      the step of each visit; 2^24 = the length of what is left after the base row
weights     uint16 (n,)     how much an error at this visit matters, relative to the others of its pass
passes      uint32 (p,)     visits in each pass; a pass visits a coordinate once at most
blocks      uint32 (k,)     passes in each block; a code may end after any block
tables      uint8 (k,)      the table of the trellis that each block uses
=========== =============== ===============================================================================
"""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import Any, Self

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from zenso.atomic_file import replacing
from zenso.bitdelta.format import HEADER_BYTES
from zenso.bitdelta.trellis import DATA, MAX_ENTRY, MAX_PASS_WEIGHT, TABLE_UNIT_BITS, TABLES
from zenso.bitdelta.visits import ROTATION_BITS, UNIT_BITS, VisitPlan, mixing, spread
from zenso.errors import InputError, IntegrityError, ModelError, StorageError

MAX_BASES = 256
MAX_WIDTH = 4096  # each visit of a pass weighs at least 1, and MAX_PASS_WEIGHT bounds their sum
BLOCKS = 20  # 20 bits a dimension: 960 bytes for 384
SHIPPED = "all-MiniLM-L6-v2"

_DTYPES = {
    "rotation": np.int16,
    "bases": np.int16,
    "dims": np.uint16,
    "steps": np.int32,
    "weights": np.uint16,
    "passes": np.uint32,
    "blocks": np.uint32,
    "tables": np.uint8,
}


@dataclass(frozen=True, eq=False)
class FrameCodebook:
    """A codebook; see the module for its tables. ``untrained``, ``shipped`` and ``open`` make one.

    Raises
    ------
    IntegrityError
        The tables do not fit each other, or are outside of the bounds that make the arithmetic exact.
    """

    rotation: NDArray[np.int16]
    bases: NDArray[np.int16]
    dims: NDArray[np.uint16]
    steps: NDArray[np.int32]
    weights: NDArray[np.uint16]
    passes: NDArray[np.uint32]
    blocks: NDArray[np.uint32]
    tables: NDArray[np.uint8]

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            message = f"this is no codebook of the frame family: {problem}"
            raise IntegrityError(message)

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return len(self.rotation)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of the codes that it makes, header included, shortest first."""
        visits = np.add.reduceat(self.passes.astype(np.int64), _starts(self.blocks))
        return tuple((HEADER_BYTES + np.cumsum(visits) // 8).tolist())

    @cached_property
    def digest(self) -> bytes:
        """BLAKE3 of the codebook as ``to_bytes`` gives it."""
        return blake3(self.to_bytes()).digest()

    def block_count(self, size: int) -> int:
        """Return how many blocks a code of a size holds.

        Raises
        ------
        InputError
            Codes of this codebook have other sizes.
        """
        if size not in self.sizes:
            message = f"a code of {size} bytes is none of this codebook; choose among {_listed(self.sizes)}"
            raise InputError(message)
        return self.sizes.index(size) + 1

    def to_bytes(self) -> bytes:
        """Return the codebook as a safetensors file."""
        return save({name: np.ascontiguousarray(getattr(self, name)) for name in _DTYPES})

    def save(self, path: Path) -> None:
        """Write the codebook to a file, in one step.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        try:
            with replacing(path) as file:
                file.write(self.to_bytes())
        except OSError as error:
            message = f"{path} cannot be written ({error.strerror}); free space, or choose another place"
            raise StorageError(message) from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what ``to_bytes`` gave.

        Raises
        ------
        IntegrityError
            The bytes are something else.
        """
        try:
            tensors: dict[str, NDArray[Any]] = load(data)
            found = {name: tensors[name] for name in _DTYPES}
        except (SafetensorError, KeyError) as error:
            message = f"this is no codebook of the frame family ({error}); make one with `zenso codec train`"
            raise IntegrityError(message) from error
        return cls(**found)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a codebook from a file.

        Raises
        ------
        InputError
            The file cannot be read.
        IntegrityError
            It is not a codebook.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            message = f"the codebook {path} cannot be read ({error.strerror})"
            raise InputError(message) from error
        try:
            return cls.from_bytes(data)
        except IntegrityError as error:
            message = f"{path}: {error}"
            raise IntegrityError(message) from error

    @classmethod
    def shipped(cls, model: str = SHIPPED) -> Self:
        """Return the codebook that was learned for a model of the catalogue.

        Raises
        ------
        ModelError
            None is shipped for this model.
        """
        known = sorted(path.stem for path in DATA.glob("*.safetensors") if path.stem != "trellis")
        if model not in known:
            message = f"no codebook is shipped for the model {model!r}; there is one for {', '.join(known)}"
            raise ModelError(message)
        return cls.open(DATA / f"{model}.safetensors")

    @classmethod
    def untrained(cls, width: int) -> Self:
        """Return the codebook for vectors of which nothing is known: zero base, mixed coordinates, equal bits.

        It is made by integer arithmetic from the width alone, so it is the same everywhere.

        Raises
        ------
        InputError
            The width is not 1 to 4,096.
        """
        check_width(width)
        steps = [max(isqrt((1 << 2 * UNIT_BITS) // width), 1)]
        plan = VisitPlan(width)
        for _ in range(BLOCKS):
            for dims in spread(np.ones(width)):
                # The first visits of a pass have few windows to choose among, so others come first each time.
                turned = np.roll(dims, len(plan.blocks) * (len(dims) * 5 // 13 + 1))
                visits = plan.counts[turned]
                steps += [max(steps[-1] * 5 // 8, 1)] * (int(visits.max()) + 1 - len(steps))
                plan.add(turned, np.array(steps)[visits], np.ones(len(dims)))
            plan.end_block(table=min(len(plan.blocks), 1))
        return cls(rotation=mixing(width), bases=np.zeros((1, width), np.int16), **plan.tables())


def check_width(width: int) -> None:
    """Raise InputError unless vectors of this width can be coded."""
    if not 1 <= width <= MAX_WIDTH:
        message = f"vectors of {width} numbers cannot be coded; 1 to {MAX_WIDTH:,} can"
        raise InputError(message)


def _starts(counts: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """Where each group begins."""
    ends: NDArray[np.int64] = np.cumsum(counts.astype(np.int64))
    return ends - counts


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes)) if len(sizes) <= 24 else f"{sizes[0]}, {sizes[1]}, ... {sizes[-1]}"


def _problem(book: FrameCodebook) -> str | None:
    """Say what is wrong with a codebook; None if nothing is."""
    for name, dtype in _DTYPES.items():
        value = getattr(book, name)
        if value.dtype != dtype or value.ndim != (2 if name in {"rotation", "bases"} else 1) or not value.size:
            return f"{name} is {value.dtype} {value.shape}"
    return _misfit(book) or _out_of_bounds(book)


def _misfit(book: FrameCodebook) -> str | None:
    """Check that the tables fit each other."""
    width, visits = len(book.rotation), len(book.dims)
    if book.rotation.shape != (width, width) or width > MAX_WIDTH:
        return f"rotation is {book.rotation.shape}"
    if book.bases.shape[1] != width or len(book.bases) > MAX_BASES:
        return f"bases are {book.bases.shape} for a width of {width}"
    if len(book.steps) != visits or len(book.weights) != visits or int(book.passes.sum(dtype=np.int64)) != visits:
        return f"{visits} visits have {len(book.steps)} steps and {len(book.weights)} weights"
    if len(book.tables) != len(book.blocks) or int(book.blocks.sum(dtype=np.int64)) != len(book.passes):
        return f"{len(book.passes)} passes have blocks of {book.blocks.tolist()} and tables {book.tables.tolist()}"
    if not (book.passes.all() and book.blocks.all()) or int(book.tables.max()) >= TABLES:
        return "a pass or block is empty, or names a table that there is not"
    return None


def _out_of_bounds(book: FrameCodebook) -> str | None:
    """Check what memory safety and the exactness of the arithmetic rest on."""
    starts = _starts(book.passes)
    if int(book.dims.max()) >= book.width:
        return f"a visit goes to coordinate {int(book.dims.max())} of {book.width}"
    if any(len(np.unique(dims)) < len(dims) for dims in np.split(book.dims, starts[1:])):
        return "a pass visits a coordinate twice"
    if not book.weights.all() or int(np.add.reduceat(book.weights.astype(np.int64), starts).max()) > MAX_PASS_WEIGHT:
        return f"weights of a pass are zero or sum to more than {MAX_PASS_WEIGHT}"
    if (np.add.reduceat(book.passes.astype(np.int64), _starts(book.blocks)) % 8).any():
        return "a block is not of whole bytes"
    lengths = np.square(book.rotation.astype(np.int64)).sum(axis=1)
    # Whatever the bits are, the length of what they say stays below 2^29: see `frame`.
    reach = np.zeros(book.width)
    np.add.at(reach, book.dims, book.steps.astype(np.float64) * (MAX_ENTRY >> TABLE_UNIT_BITS) + 1)
    if int(lengths.max()) >= 2 << 2 * ROTATION_BITS or int(book.steps.min()) < 1 or np.square(reach).sum() >= 2.0**58:
        return "its rotation is not orthogonal, or steps are below 1 or so large that sums could overflow"
    return None
