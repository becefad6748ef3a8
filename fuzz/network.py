"""What peers send, under atheris: the record decoder, and both sides of a reconciliation."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from fuzz.finding import Finding, executions


def run(seconds: int) -> Iterator[tuple[str, int]]:
    """Fuzz for so many seconds in a process of its own; yield the name and the number of executions.

    Raises
    ------
    Finding
        Something other than a clear error came of a message, or atheris is missing.
    """
    if importlib.util.find_spec("atheris") is None:
        message = "the network's fuzzer needs atheris, which exists for Linux and macOS: pip install 'zenso[fuzz]'"
        raise Finding(message)
    target = str(Path(__file__).parent / "network_target.py")
    command = [sys.executable, target, f"-max_total_time={seconds}", "-timeout=20", "-artifact_prefix=./"]
    yield "network", executions(command, "network")
