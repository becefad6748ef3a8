"""One ``score`` and one ``prefix`` for codes of either family."""

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta.codebook import FrameCodebook
from zenso.bitdelta.frame import FrameQuery, prefix_frames, score_frames
from zenso.bitdelta.scoring import SlotQuery
from zenso.bitdelta.scoring import score as score_slots
from zenso.bitdelta.slots import prefix as prefix_slots
from zenso.errors import InputError


def score(
    query: SlotQuery | FrameQuery,
    codes: NDArray[np.uint8],
    rows: NDArray[np.integer] | None = None,
    *,
    dimensions: int | None = None,
) -> NDArray[np.int64]:
    """Score codes against a query of their family, in integers.

    Parameters
    ----------
    query : SlotQuery or FrameQuery
        From `prepare_query`, or from `FrameQuery.of`.
    codes : uint8, shape (n, size)
    rows : integers, shape (m,), optional
        Which codes to score; all by default.
    dimensions : int, optional
        Of ``slots`` codes only: read so many, as `scoring.score` says.

    Returns
    -------
    int64, shape (m,)
        Higher is nearer. Of ``frame`` codes: about the dot product of the int16 vectors.

    Raises
    ------
    InputError
        A shape or type is another, there is no such row, or ``dimensions`` is given for ``frame`` codes.
    IntegrityError
        A frame code is of another family or version, or names a base row or gain that there is not.
    """
    if isinstance(query, SlotQuery):
        return score_slots(query, codes, rows, dimensions=dimensions)
    if dimensions is not None:
        message = f"dimensions is {dimensions}, but frame codes are scored whole; cut them with prefix"
        raise InputError(message)
    return score_frames(query, codes, rows)


def prefix(codes: NDArray[np.uint8], length: int, codebook: FrameCodebook | None = None) -> NDArray[np.uint8]:
    """Shorten codes: what is left are codes of their own.

    Parameters
    ----------
    codes : uint8, shape (n, size)
    length : int
        Of ``slots`` codes the dimensions (1,920, 3,840 or 7,680), of ``frame`` codes the bytes (of ``codebook.sizes``).
    codebook : FrameCodebook, optional
        Given for ``frame`` codes: the one that they were made with.

    Returns
    -------
    uint8, shape (n, shorter size)

    Raises
    ------
    InputError
        There are no codes of this length, or these are shorter.
    IntegrityError
        A code is of another family or version, or its header is damaged.
    """
    return prefix_slots(codes, length) if codebook is None else prefix_frames(codes, length, codebook)
