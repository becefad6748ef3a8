"""One ``score`` for codes of either family."""

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta.frame import FrameQuery, score_frames
from zenso.bitdelta.scoring import SlotQuery
from zenso.bitdelta.scoring import score as score_slots


def score(query: SlotQuery | FrameQuery, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Score every code against a query of its family, in integers.

    Parameters
    ----------
    query : SlotQuery or FrameQuery
        From `prepare_query`, or from `FrameQuery.of`.
    codes : uint8, shape (n, size)

    Returns
    -------
    int64, shape (n,)
        Higher is nearer; comparable among the codes of one query.

    Raises
    ------
    InputError
        The codes have another type or shape.
    IntegrityError
        A frame code is of another family or version, or names a base row or gain that there is not.
    """
    return score_frames(query, codes) if isinstance(query, FrameQuery) else score_slots(query, codes)
