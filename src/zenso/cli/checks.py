"""What `zenso doctor` looks at. Each check says what it found and, where that is no good, what to do."""

import os
import platform
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final, Literal

from blake3 import blake3
from rich.filesize import decimal

import zenso
from zenso import models
from zenso.canonical import engine_name, kernel_digest, kernel_version, open_artifact
from zenso.canonical.kernel.compile import MODULE, host_variants
from zenso.canonical.native_kernel import twin
from zenso.errors import ZensoError
from zenso.memory.reading import DEFAULT_MODEL
from zenso.models.artifacts import ARTIFACT_NAME
from zenso.zen import load_encoder

_DISTRIBUTION = re.compile(r"[\w.-]+")

State = Literal["ok", "warn", "fail"]

TEST_TEXT: Final = "The quick brown fox"
# BLAKE3 of the canonical vector of the text above (384 numbers, int16 little-endian), by version of the kernel.
TEST_VECTORS: Final = {1: "5d1e7902317e7b172fb6051cb02976fff635dbe51bb3af4fd24cf0a2bb2066fc"}

# Tables without row ids and INSERT ... ON CONFLICT, which a memory is made of.
_SQLITE_NEEDED = (3, 24, 0)
_SPACE_NEEDED = 500_000_000
# What the kernel's instructions become: without the first two x86 cannot run it, the others make it fast.
_CPU_NEEDED = frozenset({"ssse3", "sse4_1"})
_CPU_SHOWN = (
    "ssse3",
    "sse4_1",
    "avx",
    "avx2",
    "avx_vnni",
    "avx512bw",
    "avx512_vnni",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; ``remedy`` is empty where the state is ok."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def run_checks() -> Iterator[Check]:
    """Yield every finding, in the order they are shown. Nothing is fetched and nothing written."""
    yield from (_versions(), _dependencies(), _system(), _processor(), _sqlite())
    yield from (_kernel(), _engine(), _cache(), _space(), _model_files(), _artifact(), _self_test())


def guarded(name: str, check: Callable[[], Check], remedy: str) -> Check:
    """Run a check whose failure is itself the finding."""
    try:
        return check()
    except (ZensoError, OSError) as error:
        return Check(name, "fail", " ".join(str(error).split()), remedy)


def _versions() -> Check:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    detail = f"Zenso {zenso.__version__}, {python}"
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever forces an installation gets here
        return Check("versions", "fail", detail, "install Python 3.11 or newer")
    return Check("versions", "ok", detail)


def _dependencies() -> Check:
    wanted = [text for text in requires("zenso") or [] if "extra ==" not in text]
    names = sorted({match[0] for text in wanted if (match := _DISTRIBUTION.match(text))})
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        remedy = f"run: {sys.executable} -m pip install {' '.join(missing)}"
        return Check("dependencies", "fail", f"not installed: {', '.join(missing)}", remedy)
    return Check("dependencies", "ok", ", ".join(f"{name} {found[name]}" for name in found))


def _system() -> Check:
    return Check("system", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}")


def _processor() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = f"{usable} of {os.cpu_count() or usable} processors usable"
    name, flags = _cpu_info()
    if not flags:
        return Check("processor", "ok", cores)
    shown = [flag for flag in _CPU_SHOWN if flag in flags]
    detail = f"{name + ', ' if name else ''}{cores}; {', '.join(shown) or 'no vector instructions known here'}"
    lacking = _CPU_NEEDED - flags if platform.machine() in {"x86_64", "AMD64"} else frozenset()
    if lacking:
        remedy = "run Zenso on a processor (or in a virtual machine) that has them"
        return Check("processor", "fail", f"{detail}; lacks {', '.join(sorted(lacking))}", remedy)
    return Check("processor", "ok", detail)


def _cpu_info() -> tuple[str, frozenset[str]]:
    """Model name and feature flags of the first processor, as Linux tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor(), frozenset()
    fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    return fields.get("model name", ""), frozenset((fields.get("flags") or fields.get("features") or "").split())


def _sqlite() -> Check:
    detail = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _SQLITE_NEEDED:
        needed = ".".join(map(str, _SQLITE_NEEDED))
        return Check("sqlite", "fail", detail, f"use a Python built with SQLite {needed} or newer")
    return Check("sqlite", "ok", detail)


def _kernel() -> Check:
    def look() -> Check:
        on_disk = blake3(MODULE.read_bytes()).digest()
        detail = f"version {kernel_version()}, BLAKE3 {on_disk.hex()}"
        if on_disk != kernel_digest():
            return Check(
                "kernel", "fail", f"{detail}, but {kernel_digest().hex()} is in use", "start the command again"
            )
        return Check("kernel", "ok", detail)

    return guarded("kernel", look, "reinstall zenso")


def _engine() -> Check:
    def look() -> Check:
        works = [variant for variant, _ in host_variants() if twin(variant)]
        detail = f"{engine_name()} runs the kernel; native variants that work here: {', '.join(works) or 'none'}"
        if engine_name() == "wasm" and works:
            return Check(
                "engine", "warn", detail, "unset ZENSO_ENGINE to run the native kernel, which gives the same bits"
            )
        return Check("engine", "ok", detail)

    return guarded("engine", look, "unset ZENSO_ENGINE, or set it to wasm or native")


def _cache() -> Check:
    folder = models.cache_folder(models.lookup(DEFAULT_MODEL))
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        remedy = f"change the mode of {existing}, or set ZENSO_CACHE to a folder that may be written"
        return Check("cache", "fail", f"{folder} cannot be written", remedy)
    return Check("cache", "ok", f"{folder} can be written")


def _space() -> Check:
    folder = models.cache_folder(models.lookup(DEFAULT_MODEL))
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < _SPACE_NEEDED:
        remedy = f"free {decimal(_SPACE_NEEDED)}, or set ZENSO_CACHE to a folder on a larger disk"
        return Check("disk space", "warn", f"{decimal(free)} free at {existing}", remedy)
    return Check("disk space", "ok", f"{decimal(free)} free at {existing}")


def _model_files() -> Check:
    name, fetch = f"model {DEFAULT_MODEL}", f"run: zenso models fetch {DEFAULT_MODEL}"
    checks = models.verify(DEFAULT_MODEL)
    if all(check.ok for check in checks):
        return Check(name, "ok", f"{len(checks)} files verified in {checks[0].path.parent}")
    problems = "; ".join(check.problem for check in checks if check.problem and not check.missing)
    if problems:
        return Check(name, "fail", problems, fetch)
    absent = ", ".join(check.file.name for check in checks if check.missing)
    detail = "not fetched" if all(check.missing for check in checks) else f"not fetched: {absent}"
    return Check(name, "warn", detail, f"{fetch} (or wait: first use does it)")


def _artifact() -> Check:
    entry = models.lookup(DEFAULT_MODEL)
    path = models.cache_folder(entry) / ARTIFACT_NAME
    if not path.exists():
        return Check("artifact", "warn", "not built", "nothing to do: it is built when the model is first used")
    try:
        expected = bytes.fromhex(entry.artifact_blake3 or "") or None
        artifact = open_artifact(path, expected_digest=expected)
    except ZensoError as error:
        return Check(
            "artifact", "warn", " ".join(str(error).split()), "nothing to do: it is built anew at the next use"
        )
    return Check("artifact", "ok", f"as the catalogue says, BLAKE3 {artifact.digest.hex()}")


def _self_test() -> Check:
    entry = models.lookup(DEFAULT_MODEL)
    if models.locate(entry) is None and not (models.cache_folder(entry) / ARTIFACT_NAME).exists():
        return Check("self test", "warn", "not run: no model", f"run: zenso models fetch {DEFAULT_MODEL}")

    def look() -> Check:
        vector = load_encoder(DEFAULT_MODEL).encode_vectors([TEST_TEXT])[0]
        digest = blake3(vector.astype("<i2").tobytes()).hexdigest()
        expected = TEST_VECTORS.get(kernel_version())
        detail = f"{TEST_TEXT!r} gives BLAKE3 {digest}"
        if expected is None:
            return Check("self test", "fail", f"{detail}; nothing is known of this kernel's version", "reinstall zenso")
        if digest != expected:
            remedy = "do not use results of this machine; reinstall zenso, and report it if that does not help"
            return Check("self test", "fail", f"{detail} instead of {expected}", remedy)
        return Check("self test", "ok", f"as everywhere, {detail}")

    return guarded("self test", look, f"run: zenso models fetch {DEFAULT_MODEL}")
