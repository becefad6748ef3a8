"""What scripts that write a file of this repository have in common: write it, or check that it is current."""

import argparse
from collections.abc import Callable
from pathlib import Path


def write_or_check(description: str, target: Path, document: Callable[[], str]) -> int:
    """Write a file, or with ``--check`` on the command line only compare it; returns the exit code."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file is not current")
    check = parser.parse_args().check
    text = document()
    if check:
        current = target.is_file() and target.read_text("utf-8") == text
        print(f"{target.name} is {'current' if current else 'not current; run this without --check'}")
        return 0 if current else 1
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, "utf-8")
    return 0
