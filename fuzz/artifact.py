"""The artifact's reader, the tokenizer in it, and the kernel on what they let pass, under atheris."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fuzz.finding import Finding, executions


def run(seconds: int) -> Iterator[tuple[str, int]]:
    """Fuzz for so many seconds in a process of its own; yield the name and the number of executions.

    Raises
    ------
    Finding
        Something other than a clear error came of a bent file, or atheris is missing.
    """
    if importlib.util.find_spec("atheris") is None:
        message = "the artifact's fuzzer needs atheris, which exists for Linux and macOS: pip install 'zenso[fuzz]'"
        raise Finding(message)
    target = str(Path(__file__).parent / "artifact_target.py")
    with tempfile.TemporaryDirectory(prefix="zenso-fuzz-") as scratch:
        command = [sys.executable, target, scratch, f"-max_total_time={seconds}", "-timeout=20", "-artifact_prefix=./"]
        yield "artifact", executions(command, "artifact")
