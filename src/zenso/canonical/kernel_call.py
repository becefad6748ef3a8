"""What goes into one call of the kernel and what comes out, whichever build runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zenso.errors import ModelError

MAX_ROWS = 512  # tokens in one call
MAX_CELLS = 64
REQUEST_WORDS = 15  # of 8 bytes: struct Request
ALIGNMENT = 64


class Want(IntFlag):
    """What a call computes besides the token states."""

    POOLED = 1
    TOKENS = 2
    DOCUMENT_SLOTS = 4
    QUERY_SLOTS = 8


@dataclass(frozen=True)
class KernelInput:
    """Texts laid one after the other, without padding."""

    words: NDArray[np.int16]  # (rows, hidden): word-embedding rows of all tokens, at most MAX_ROWS
    shifts: NDArray[np.int32]  # (rows,)
    lengths: NDArray[np.int32]  # (texts,): tokens of each text; they sum to rows
    weights: NDArray[np.int32]  # (rows,): of each token in a query's slots; per text they sum to less than 2^16
    cells: NDArray[np.int16]  # (cells, hidden): unit directions, scale 32767; empty when no slots are wanted


@dataclass(frozen=True)
class KernelOutput:
    """What one call produced; arrays that were not asked for are empty."""

    pooled: NDArray[np.int16]  # (texts, hidden), scale 32767, correctly rounded
    tokens: NDArray[np.int16]  # (rows, hidden), scale 32767
    slots: NDArray[np.int32]  # (texts, cells, hidden); directions (scale 32767) for documents, sums for queries


class Kernel(Protocol):
    """One kernel with its own memory: not for use by two threads at a time. It runs without holding the GIL."""

    def run(self, call: KernelInput, want: Want) -> KernelOutput:
        """Encode the texts of a call.

        Raises
        ------
        ModelError
            The kernel refuses the batch.
        """
        ...


def aligned(size: int) -> int:
    """Round up to what every buffer starts at."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def output_sizes(call: KernelInput) -> dict[str, int]:
    """Bytes that the kernel may write to each output."""
    texts, (rows, hidden), count = len(call.lengths), call.words.shape, len(call.cells)
    return {"pooled": texts * hidden * 2, "tokens": rows * hidden * 2, "slots": texts * count * hidden * 4}


def request(
    model: int, workspace: tuple[int, int], at: dict[str, int], call: KernelInput, want: Want
) -> NDArray[np.int64]:
    """Lay out ``Request`` of ``kernel.c``.

    Parameters
    ----------
    model : int
        Address of the model.
    workspace : tuple of int
        Address and size in bytes.
    at : dict
        Address of each input and output.
    """
    head = [model, *workspace, len(call.lengths), len(call.words)]
    inputs = [at["lengths"], at["words"], at["shifts"], at["weights"]]
    outputs = [at["pooled"], at["tokens"], at["cells"], len(call.cells), at["slots"]]
    return np.array([*head, *inputs, int(want), *outputs], dtype=np.int64)


def check_workspace(size: int, path: Path) -> None:
    """Raise ModelError if ``zenso_workspace`` said that it does not know the model of an artifact."""
    if size < 0:
        message = f"{path} holds a model that this kernel does not run; delete it and it is built again"
        raise ModelError(message)


def check_status(status: int, call: KernelInput) -> None:
    """Raise ModelError unless the kernel said that all went well."""
    if status:
        message = (
            f"the kernel refused a batch of {len(call.lengths)} texts and {len(call.words)} tokens (status {status})"
        )
        raise ModelError(message)


def collect(
    call: KernelInput, want: Want, read: Callable[[str, np.dtype[np.generic], tuple[int, ...]], NDArray[np.generic]]
) -> KernelOutput:
    """Gather the outputs that were wanted; ``read`` copies one out of the kernel's memory."""
    texts, (rows, hidden), count = len(call.lengths), call.words.shape, len(call.cells)
    slot_type = np.dtype(np.int32 if want & Want.QUERY_SLOTS else np.int16)
    slot_texts = texts if want & (Want.DOCUMENT_SLOTS | Want.QUERY_SLOTS) else 0
    return KernelOutput(
        pooled=read("pooled", np.dtype(np.int16), (texts if want & Want.POOLED else 0, hidden)).astype(
            np.int16, copy=False
        ),
        tokens=read("tokens", np.dtype(np.int16), (rows if want & Want.TOKENS else 0, hidden)).astype(
            np.int16, copy=False
        ),
        slots=read("slots", slot_type, (slot_texts, count, hidden)).astype(np.int32, copy=False),
    )
