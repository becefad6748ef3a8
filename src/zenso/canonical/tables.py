"""Look-up tables of the kernel, computed exactly so that they are the same wherever an artifact is built.

The C library's ``erf`` may differ in the last bit between systems; decimal arithmetic does not.
"""

from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

STEPS_PER_UNIT = 128
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
_DIGITS = 70
_VALUE_ONE = 1 << 17


def _upper_tail(u: Decimal) -> Decimal:
    """1 - Phi(u) of the standard normal distribution, by the Taylor series of erf (exact to about 50 digits)."""
    x = u / Decimal(2).sqrt()
    term, total, n = x, x, 0
    while abs(term) > Decimal(10) ** -60:
        n += 1
        term *= -x * x / n
        total += term / (2 * n + 1)
    erf = 2 * total / _PI.sqrt()
    return (1 - erf) / 2


@cache
def gelu_table() -> NDArray[np.int32]:
    """Return g(u) = u * (1 - Phi(u)) = max(u, 0) - GELU(u) at steps of 1/128 until it rounds to 0.

    Returns
    -------
    int32, shape (entries,)
        Each entry holds the value (Q17) in its high half and the step to the next value in its low half.
    """
    with localcontext() as context:
        context.prec = _DIGITS
        values: list[int] = []
        while True:
            u = Decimal(len(values)) / STEPS_PER_UNIT
            values.append(int((u * _upper_tail(u) * _VALUE_ONE).to_integral_value()))
            if u > 1 and values[-1] == 0:
                break
    value = np.array(values, dtype=np.int32)
    step = np.append(np.diff(value), 0)
    return ((value << 16) | (step & 0xFFFF)).astype(np.int32)
