"""Real texts that every machine has: the documentation of the standard library of the running Python."""

import random

import numpy as np
from numpy.typing import NDArray

from zenso.canonical.tokenizer import TextTokenizer
from zenso.errors import InputError
from zenso.memory.ingest import standard_library_docstrings

Ids = list[NDArray[np.int32]]


def choose(tokenizer: TextTokenizer, count: int) -> tuple[list[str], Ids]:
    """Take every n-th of the distinct texts sorted by tokens: all lengths, as often as they occur; then shuffle.

    Returns
    -------
    tuple of list of str and list of arrays
        The texts and the token ids of each.

    Raises
    ------
    InputError
        There are not as many texts.
    """
    distinct = sorted({entry.docstring for entry in standard_library_docstrings() if entry.docstring.strip()})
    if count > len(distinct):
        message = (
            f"--texts is {count}; the standard library of this Python has only {len(distinct)} different docstrings"
        )
        raise InputError(message)
    ids = tokenizer.encode(distinct)
    by_length = sorted(range(len(distinct)), key=lambda i: (len(ids[i]), distinct[i]))
    chosen = [by_length[i * (len(distinct) - 1) // (count - 1)] for i in range(count)]
    random.Random(0).shuffle(chosen)
    return [distinct[i] for i in chosen], [ids[i] for i in chosen]
