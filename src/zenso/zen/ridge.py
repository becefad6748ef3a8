"""Ridge regression from running sums, so that pairs need not be in memory together."""

import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError

Float64 = NDArray[np.float64]


class Ridge:
    """Least squares of y = W x + b with a penalty on W, in float64.

    Parameters
    ----------
    inputs, outputs : int
        Widths of x and y.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.rows = 0
        self._sum_x, self._sum_y = np.zeros(inputs), np.zeros(outputs)
        self._squares, self._products = np.zeros((inputs, inputs)), np.zeros((inputs, outputs))

    def add(self, x: Float64, y: Float64) -> None:
        """Add pairs.

        Parameters
        ----------
        x : float64, shape (n, inputs)
        y : float64, shape (n, outputs)

        Raises
        ------
        InputError
            A shape is another.
        """
        if x.shape != (len(y), len(self._sum_x)) or y.shape != (len(x), len(self._sum_y)):
            message = (
                f"pairs have shapes {x.shape} and {y.shape}, not (n, {len(self._sum_x)}) and (n, {len(self._sum_y)})"
            )
            raise InputError(message)
        self.rows += len(x)
        self._sum_x += x.sum(axis=0)
        self._sum_y += y.sum(axis=0)
        self._squares += x.T @ x
        self._products += x.T @ y

    def solve(self, penalty: float) -> tuple[Float64, Float64]:
        """Return W, shape (outputs, inputs), and b, shape (outputs,).

        Parameters
        ----------
        penalty : float
            Above 0; in units of the mean variance of a coordinate of x times the number of pairs.

        Raises
        ------
        InputError
            There are no pairs, x never varies, or the penalty is not positive.
        """
        if not self.rows or not penalty > 0:
            message = f"{self.rows} pairs with a penalty of {penalty}: give at least one, and a penalty above 0"
            raise InputError(message)
        mean_x, mean_y = self._sum_x / self.rows, self._sum_y / self.rows
        squares = self._squares - self.rows * np.outer(mean_x, mean_x)
        products = self._products - self.rows * np.outer(mean_x, mean_y)
        width = len(squares)
        variance = np.trace(squares) / width
        if variance <= 0:
            message = f"all {self.rows} vectors are the same: there is nothing to learn from"
            raise InputError(message)
        weights = np.linalg.solve(squares + penalty * variance * np.eye(width), products).T
        return weights, mean_y - weights @ mean_x
