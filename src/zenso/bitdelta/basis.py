"""What codes of the family ``slots`` are made and scored with; learned, and shipped with a model's slots."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta.format import DIMENSIONS, GROUP_WIDTH, SLOT_WIDTH
from zenso.errors import InputError

PROJECTION_UNIT = 16384  # length of a row of a projection
# R's transpose times 384 signs has length 384; .5 * sqrt(pi / 2) * 32767 / 384 = 53.47 makes it half of a direction:
# sqrt(pi / 2) because signs of a Gaussian reach only sqrt(2 / pi) of the cosine.
HALF_SHARE = 53
# 256 tokens of weight 255 give slot 0 at most 2^44 and the groups at most 2^38 a unit, so a score stays below 2^61.
LARGEST_UNIT = 2**16


@dataclass(frozen=True, eq=False)
class SlotBasis:
    """Projection, share of slot 0, and what a sign counts.

    Parameters
    ----------
    projection : int16, shape (128, 384)
        Rows of length 16384 at most.
    share : int
        0 to 53: how much of the direction that slot 0 decodes to is taken from every token, in units of about 1/106.
    units : int32, shape (3, 2)
        What a sign of slot 0 and of a group counts in a score of 1,920, 3,840 and 7,680 dimensions, 1 to 65536.

    Raises
    ------
    InputError
        A type, a shape or a number is another.
    """

    projection: NDArray[np.int16]
    share: int
    units: NDArray[np.int32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "projection", np.ascontiguousarray(self.projection))
        given, units = self.projection, self.units
        if given.dtype != np.int16 or given.shape != (GROUP_WIDTH, SLOT_WIDTH):
            message = f"a projection is int16 ({GROUP_WIDTH}, {SLOT_WIDTH}), not {given.dtype} {given.shape}"
            raise InputError(message)
        longest = int((given.astype(np.int64) ** 2).sum(axis=1).max())
        if longest > (PROJECTION_UNIT + 10) ** 2:  # 10 for rounding: half a unit for each of 384 numbers
            message = f"a row of the projection has squared length {longest}; at most {PROJECTION_UNIT}^2 is exact"
            raise InputError(message)
        if not 0 <= self.share <= HALF_SHARE:
            message = f"the share of slot 0 is {self.share}; it must lie within 0 to {HALF_SHARE}"
            raise InputError(message)
        if units.dtype != np.int32 or units.shape != (len(DIMENSIONS), 2):
            message = f"units are int32 ({len(DIMENSIONS)}, 2), not {units.dtype} {units.shape}"
            raise InputError(message)
        if units.min() < 1 or units.max() > LARGEST_UNIT:
            message = f"units are {units.min()} to {units.max()}; they must lie within 1 to {LARGEST_UNIT}"
            raise InputError(message)
