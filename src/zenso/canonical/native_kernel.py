"""The native twin: the same C source built for the host, faster, and only used once it has proved itself.

Integer sums do not depend on their order, so every variant gives the bits of the WebAssembly module. A variant is
loaded when the processor has its instructions, and trusted when its self-test gives the module's hash.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zenso.canonical.artifact import Artifact
from zenso.canonical.kernel.compile import host_variants, twin_path
from zenso.canonical.kernel_call import (
    ALIGNMENT,
    MAX_CELLS,
    MAX_ROWS,
    KernelInput,
    KernelOutput,
    Want,
    aligned,
    check_status,
    check_workspace,
    collect,
    output_sizes,
    request,
)

# Hash of the self-test as the WebAssembly module computes it; a test compares the two.
SELF_TEST_HASH = -5183213219543097645
SELF_TEST_ROOM = 2_000_000
_NEEDS = {"avx512vnni": 2, "avx2": 1}  # bits of zenso_processor()


def _buffer(size: int) -> NDArray[np.uint8]:
    """Return ``size`` bytes that start at a multiple of the alignment."""
    room = np.zeros(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size]


class Twin:
    """A loaded variant of the native twin."""

    def __init__(self, variant: str) -> None:
        self.variant = variant
        library = ctypes.CDLL(str(twin_path(variant)))  # calls through CDLL release the GIL
        signatures: dict[str, tuple[Any, int]] = {
            "zenso_version": (ctypes.c_int32, 0),
            "zenso_processor": (ctypes.c_int32, 0),
            "zenso_workspace": (ctypes.c_int64, 5),
            "zenso_encode": (ctypes.c_int32, 1),
            "zenso_self_test": (ctypes.c_int64, 2),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, [ctypes.c_int64] * arguments
        self._library = library

    def call(self, name: str, *arguments: int) -> int:
        """Call an entry point of the kernel."""
        return int(getattr(self._library, name)(*arguments))

    def self_test(self) -> int:
        """Run the kernel's self-test and return its hash."""
        room = _buffer(SELF_TEST_ROOM)
        return self.call("zenso_self_test", room.ctypes.data, len(room))


def load(variant: str) -> Twin | None:
    """Load a variant, which has yet to prove itself; None when it is not built or does not suit the processor."""
    try:
        if variant in _NEEDS:  # the portable variant may run anywhere, so it is the one to ask
            processor = Twin(host_variants()[-1][0]).call("zenso_processor")
            if not processor & _NEEDS[variant]:
                return None
        return Twin(variant)
    except (OSError, AttributeError, IndexError):
        return None


@cache
def twin(variant: str) -> Twin | None:
    """Load a variant and let it prove itself; None when it cannot be loaded or fails."""
    loaded = load(variant)
    return loaded if loaded and loaded.self_test() == SELF_TEST_HASH else None


def best_twin() -> Twin | None:
    """Return the fastest variant that works here."""
    loaded = (twin(variant) for variant, _ in host_variants())
    return next((found for found in loaded if found), None)


class NativeKernel:
    """A workspace for the twin; the model is read where the artifact is mapped. See ``Kernel``."""

    def __init__(self, artifact: Artifact, library: Twin) -> None:
        self._twin = library
        self._artifact = artifact  # keeps the mapping alive
        self._model = artifact.kernel.ctypes.data
        size = library.call("zenso_workspace", self._model, len(artifact.kernel), artifact.hidden, MAX_ROWS, MAX_CELLS)
        check_workspace(size, artifact.path)
        self._workspace = _buffer(size)

    def run(self, call: KernelInput, want: Want) -> KernelOutput:
        """Encode the texts of a call. See ``Kernel``."""
        names = ("lengths", "words", "shifts", "weights", "cells")
        buffers: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(getattr(call, name)) for name in names}
        buffers |= {name: _buffer(aligned(size)) for name, size in output_sizes(call).items()}
        at = {name: array.ctypes.data for name, array in buffers.items()}
        prepared = request(self._model, (self._workspace.ctypes.data, len(self._workspace)), at, call, want)
        check_status(self._twin.call("zenso_encode", prepared.ctypes.data), call)

        def read(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
            count = int(np.prod(shape))
            return buffers[name][: count * dtype.itemsize].view(dtype).reshape(shape)

        return collect(call, want, read)
