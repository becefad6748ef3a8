"""Pairs of an engine and a processor that run the canonical kernel, each on the same calls."""

import platform
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from blake3 import blake3

from zenso.canonical import Want
from zenso.canonical.artifact import Artifact
from zenso.canonical.kernel.compile import COMMON_FLAGS, FOLDER, MACHINES, MODULE, host_variants
from zenso.canonical.kernel_call import Kernel, KernelInput
from zenso.canonical.native_kernel import SELF_TEST_HASH, SELF_TEST_ROOM, NativeKernel, load
from zenso.canonical.wasm_kernel import WasmKernel, self_test
from zenso.errors import ModelError

MACHINE = MACHINES.get(platform.machine().lower(), platform.machine().lower())
PULLEY = "pulley64"

_HERE = Path(__file__).parent
_DRIVER = _HERE / "engine_driver.c"
_NODE_SCRIPT = _HERE / "engine_node.mjs"
# The driver is a program of an operating system, with a C library. Where a processor has so few registers that a loop
# is not unrolled, that is no error: there speed is not what matters.
_DRIVER_FLAGS = (*(flag for flag in COMMON_FLAGS if flag not in {"-ffreestanding", "-nostdlib"}), "-Wno-pass-failed")


@dataclass(frozen=True)
class Case:
    """What every pair computes, or only the first calls of it where that takes too long."""

    artifact: Artifact
    calls: list[tuple[KernelInput, Want]]
    first: int  # calls that every pair computes; 1 to all

    def first_bytes(self) -> int:
        """Count the bytes of results of the first calls."""
        return sum(_result_bytes(call, want) for call, want in self.calls[: self.first])

    def write(self, path: Path) -> None:
        """Write the file that ``engine_driver.c`` describes."""
        cells = self.calls[0][0].cells
        with path.open("wb") as out:
            out.write(np.array([len(self.artifact.kernel), len(self.calls), len(cells)], "<i8").tobytes())
            out.write(self.artifact.kernel.tobytes())
            out.write(cells.astype("<i2").tobytes())
            for call, want in self.calls:
                out.write(np.array([want, len(call.lengths), len(call.words)], "<i8").tobytes())
                out.write(call.lengths.astype("<i4").tobytes())
                out.write(call.words.astype("<i2").tobytes())
                out.write(call.shifts.astype("<i4").tobytes())
                out.write(call.weights.astype("<i4").tobytes())


def _result_bytes(call: KernelInput, want: Want) -> int:
    (rows, hidden), texts, cells = call.words.shape, len(call.lengths), len(call.cells)
    vectors = 2 * texts * bool(want & Want.POOLED) + 2 * rows * bool(want & Want.TOKENS)
    slots = 2 * bool(want & Want.DOCUMENT_SLOTS) + 4 * bool(want & Want.QUERY_SLOTS)
    total: int = hidden * (vectors + slots * texts * cells)
    return total


@dataclass(frozen=True)
class Digests:
    """BLAKE3 of all results as little-endian numbers, in the order of the calls."""

    first: str  # of the first calls
    every: str | None  # of all; None where only the first were computed


class Pair(Protocol):
    """An engine on a processor."""

    @property
    def name(self) -> str:
        """Key of its digest in the results."""
        ...

    @property
    def label(self) -> str:
        """Engine and processor for people to read, with a bar between."""
        ...

    def missing(self) -> str | None:
        """Say why it cannot run here, or None when it can."""
        ...

    @property
    def slow(self) -> bool:
        """Whether it computes the first calls only."""
        ...

    def digests(self, case: Case, scratch: Path, on_call: Callable[[], None]) -> Digests:
        """Run the self-test, then the calls.

        Parameters
        ----------
        case : Case
        scratch : Path
            A folder for this run, with the case in ``calls.bin``.
        on_call : callable
            Called after each call.

        Raises
        ------
        ModelError
            The self-test or the run failed.
        """
        ...


def _check_self_test(name: str, found: int) -> None:
    if found != SELF_TEST_HASH:
        message = f"the self-test of {name} gave {found}, not {SELF_TEST_HASH}: this build of the kernel is wrong"
        raise ModelError(message)


def _run_calls(kernel: Kernel, case: Case, count: int, on_call: Callable[[], None]) -> Digests:
    digest = blake3()
    first = ""
    for index, (call, want) in enumerate(case.calls[:count], 1):
        result = kernel.run(call, want)
        digest.update(result.pooled.astype("<i2").tobytes())
        digest.update(result.tokens.astype("<i2").tobytes())
        digest.update(result.slots.astype("<i4" if want & Want.QUERY_SLOTS else "<i2").tobytes())
        if index == case.first:
            first = digest.hexdigest()
        on_call()
    return Digests(first, digest.hexdigest() if count == len(case.calls) else None)


@dataclass(frozen=True)
class Wasmtime:
    """The module in wasmtime: compiled by Cranelift, or its bytecode interpreted by Pulley."""

    target: str | None = None

    @property
    def name(self) -> str:
        """See ``Pair``."""
        return f"wasmtime_{'pulley' if self.target else 'cranelift'}_{MACHINE}"

    @property
    def label(self) -> str:
        """See ``Pair``."""
        return f"WebAssembly, wasmtime's {'Pulley interpreter' if self.target else 'Cranelift'} | {MACHINE}"

    @property
    def slow(self) -> bool:
        """See ``Pair``."""
        return self.target is not None

    def missing(self) -> str | None:
        """See ``Pair``."""
        return None

    def digests(self, case: Case, scratch: Path, on_call: Callable[[], None]) -> Digests:  # noqa: ARG002  # as for all pairs
        """See ``Pair``."""
        _check_self_test(self.name, self_test(SELF_TEST_ROOM, self.target))
        count = case.first if self.slow else len(case.calls)
        return _run_calls(WasmKernel(case.artifact, self.target), case, count, on_call)


@dataclass(frozen=True)
class HostTwin:
    """A variant of the native twin, as it is installed."""

    variant: str

    @property
    def name(self) -> str:
        """See ``Pair``."""
        return f"twin_{self.variant}_{MACHINE}"

    @property
    def label(self) -> str:
        """See ``Pair``."""
        return f"native twin, {self.variant} | {MACHINE}"

    @property
    def slow(self) -> bool:
        """See ``Pair``."""
        return False

    def missing(self) -> str | None:
        """See ``Pair``."""
        return None if load(self.variant) else "it is not built, or not for this processor"

    def digests(self, case: Case, scratch: Path, on_call: Callable[[], None]) -> Digests:  # noqa: ARG002  # as for all pairs
        """See ``Pair``."""
        library = load(self.variant)
        if library is None:
            raise ModelError(f"{self.name}: {self.missing()}")
        _check_self_test(self.name, library.self_test())
        return _run_calls(NativeKernel(case.artifact, library), case, len(case.calls), on_call)


def _run_program(
    name: str, command: Sequence[str | Path], output: Path, case: Case, on_call: Callable[[], None]
) -> Digests:
    """Run a program that prints the hash of its self-test, then a line a call, and writes its results to ``output``."""
    with (
        output.with_suffix(".err").open("w+") as errors,
        subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            first = process.stdout.readline().strip()
            if re.fullmatch(r"-?\d+", first):
                _check_self_test(name, int(first))
            for _ in process.stdout:
                on_call()
        except BaseException:
            process.kill()
            raise
        if process.wait():
            errors.seek(0)
            message = f"{name} ended with status {process.returncode}: {errors.read().strip()[-500:]}"
            raise ModelError(message)
    results = output.read_bytes()
    expected = sum(_result_bytes(call, want) for call, want in case.calls)
    if len(results) != expected:
        message = f"{name} wrote {len(results)} bytes of results, not {expected}"
        raise ModelError(message)
    output.unlink()
    return Digests(blake3(results[: case.first_bytes()]).hexdigest(), blake3(results).hexdigest())


@dataclass(frozen=True)
class V8:
    """The module in V8, which Node.js is built on."""

    @property
    def name(self) -> str:
        """See ``Pair``."""
        return f"v8_{MACHINE}"

    @property
    def label(self) -> str:
        """See ``Pair``."""
        return f"WebAssembly, V8 (Node.js) | {MACHINE}"

    @property
    def slow(self) -> bool:
        """See ``Pair``."""
        return False

    def missing(self) -> str | None:
        """See ``Pair``."""
        return None if shutil.which("node") else "Node.js is not installed (Debian: apt-get install nodejs)"

    def digests(self, case: Case, scratch: Path, on_call: Callable[[], None]) -> Digests:
        """See ``Pair``."""
        output = scratch / self.name
        return _run_program(
            self.name, ["node", _NODE_SCRIPT, MODULE, scratch / "calls.bin", output], output, case, on_call
        )


_compiler = threading.Lock()  # one compiler at a time: each takes all processors


@dataclass(frozen=True)
class EmulatedTwin:
    """The native twin built for another processor, which qemu emulates."""

    machine: str
    variant: str
    processor: str  # the compiler's name of it
    note: str = ""

    @property
    def name(self) -> str:
        """See ``Pair``."""
        return f"twin_{self.variant}_{self.machine}_qemu"

    @property
    def label(self) -> str:
        """See ``Pair``."""
        return f"native twin, {self.variant} | {self.machine}{self.note}, emulated by qemu"

    def _qemu(self) -> str | None:
        return shutil.which(f"qemu-{self.machine}") or shutil.which(f"qemu-{self.machine}-static")

    @property
    def slow(self) -> bool:
        """See ``Pair``."""
        return False

    def missing(self) -> str | None:
        """See ``Pair``."""
        if find_spec("ziglang") is None:
            return "ziglang is not installed (pip install 'zenso[bench]')"
        return None if self._qemu() else f"qemu-{self.machine} is not installed (Debian: apt-get install qemu-user)"

    def digests(self, case: Case, scratch: Path, on_call: Callable[[], None]) -> Digests:
        """See ``Pair``."""
        program, output = scratch / f"{self.name}.program", scratch / self.name
        with _compiler:
            self._compile(program)
        return _run_program(
            self.name, [self._qemu() or "", program, scratch / "calls.bin", output], output, case, on_call
        )

    def _compile(self, program: Path) -> None:
        target = ("-target", f"{self.machine}-linux-musl", f"-mcpu={self.processor}", "-static", "-s", f"-I{FOLDER}")
        command = [sys.executable, "-m", "ziglang", "cc", *_DRIVER_FLAGS, *target, "-o", str(program), str(_DRIVER)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            message = f"the kernel did not compile for {self.machine}:\n{done.stderr}"
            raise ModelError(message)


def all_pairs() -> list[Pair]:
    """Every pair that this kind of machine could run, the slowest first: they decide how long all take."""
    return [
        EmulatedTwin("aarch64", "neon", "generic"),
        Wasmtime(PULLEY),
        EmulatedTwin("riscv64", "portable", "baseline_rv64"),
        EmulatedTwin("s390x", "portable", "z13", " (big-endian)"),
        V8(),
        Wasmtime(),
        *(HostTwin(variant) for variant, _ in reversed(host_variants())),
    ]
