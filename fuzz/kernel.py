"""The kernel's C source under libFuzzer with its sanitizers of addresses and of undefined behaviour, every variant."""

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fuzz.finding import Finding, executions
from zenso.canonical import native_kernel
from zenso.canonical.kernel.compile import SOURCE, host_variants

HARNESS = Path(__file__).parent / "kernel_fuzz.c"
_FLAGS = (
    *("-std=c17", "-O2", "-g", "-fwrapv", "-fno-strict-aliasing", "-Wno-psabi"),
    *("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"),
)
_PROCESSORS = {
    "avx512vnni": ("-march=x86-64-v4", "-mavx512vnni"),
    "avx2": ("-march=x86-64-v3",),
    "portable": ("-march=x86-64",),
    "neon": (),
}
_LONGEST = 4096  # bytes of an input


def run(seconds: int) -> Iterator[tuple[str, int]]:
    """Fuzz each variant for so many seconds; yield its name and the number of executions.

    Raises
    ------
    Finding
        A variant broke, or there is no compiler with libFuzzer.
    """
    compiler = shutil.which("clang")
    if compiler is None:
        message = "the kernel's fuzzer needs clang and its sanitizers; on Debian: apt-get install clang libclang-rt-dev"
        raise Finding(message)
    for variant, _ in host_variants():
        if native_kernel.load(variant) is None:
            continue  # this processor cannot run it
        with tempfile.TemporaryDirectory(prefix="zenso-fuzz-") as scratch:
            binary = Path(scratch) / "kernel_fuzz"
            command = [compiler, *_FLAGS, *_PROCESSORS[variant], f"-I{SOURCE.parent}", str(HARNESS), "-o", str(binary)]
            built = subprocess.run(command, check=False, capture_output=True, text=True)
            if built.returncode:
                message = f"clang does not build {HARNESS.name} on {platform.machine()}:\n{built.stderr[-2000:]}"
                raise Finding(message)
            name = f"kernel {variant}"
            limits = [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", "-timeout=20", "-artifact_prefix=./"]
            yield name, executions([str(binary), *limits], name)
