"""The retrieval sets that measurements of ranking read: which there are, the option that names others, a quick part."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from zenso.errors import InputError
from zenso.evaluation.retrieval_set import RetrievalSet, read_retrieval_set

DATA = Path("../shared/data")
NAMES = ("scifact", "nq_utd", "covidqa")
QUICK_DOCUMENTS, QUICK_QUERIES = 500, 50


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--data``, which names one retrieval set, or several when given again."""
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="FOLDER",
        help=f"a retrieval set in the BEIR layout; again for several; default: {', '.join(NAMES)} in {DATA}",
    )


def read(folder: Path, *, quick: bool) -> RetrievalSet:
    """Read a retrieval set, for a quick run only a part of it."""
    if quick:
        return read_retrieval_set(folder, queries=QUICK_QUERIES, documents=QUICK_DOCUMENTS)
    return read_retrieval_set(folder)


def read_all(folders: Sequence[Path] | None, *, quick: bool) -> list[RetrievalSet]:
    """Read the sets that ``--data`` names, or else all that there are.

    Raises
    ------
    InputError
        Two have one name, which is what results are told apart by.
    """
    sets = [read(folder, quick=quick) for folder in folders or [DATA / name for name in NAMES]]
    names = [data.name for data in sets]
    if len(set(names)) < len(names):
        message = f"the folders of --data must have different names, these are {', '.join(names)}"
        raise InputError(message)
    return sets
