"""What peers send, under atheris: the record decoder and reconciliation on their own, and whole synchronisations."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.finding import Finding, executions

# Options of libFuzzer: what an exchange may take in memory (MB), and inputs long enough for one from the beginning.
_TARGETS = {
    "network": ("-timeout=20",),
    "sync": ("-timeout=20", "-rss_limit_mb=1024", "-len_control=0", "-max_len=400"),
}


def run(seconds: int) -> Iterator[tuple[str, int]]:
    """Fuzz for so many seconds in two processes at once; yield the name and the number of executions of each.

    Raises
    ------
    Finding
        Something other than a clear error came of what was sent, or atheris is missing.
    """
    if importlib.util.find_spec("atheris") is None:
        message = "the network's fuzzer needs atheris, which exists for Linux and macOS: pip install 'zenso[fuzz]'"
        raise Finding(message)

    def executed(name: str) -> tuple[str, int]:
        target = str(Path(__file__).parent / f"{name}_target.py")
        # For the one the folder of its stores, for the other that of the inputs it finds.
        with tempfile.TemporaryDirectory(prefix="zenso-fuzz-") as scratch:
            options = [f"-max_total_time={seconds}", "-artifact_prefix=./", *_TARGETS[name]]
            return name, executions([sys.executable, target, scratch, *options], name)

    with ThreadPoolExecutor() as pool:
        yield from pool.map(executed, _TARGETS)
