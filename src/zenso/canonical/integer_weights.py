"""Float weights to the integers of the kernel, with exact sums so that the result is the same everywhere.

Only correctly rounded operations are used (IEEE-754 add, multiply, divide, ``math.fsum``, ``rint``, ``frexp``).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zenso.errors import ModelError

PANEL = 16  # output channels that the kernel computes together
ACTIVATION_BITS = 12
STREAM_BITS = 16  # fraction bits of the residual stream, unless its outliers need more room: see stream_scale
EMBEDDING_BITS = 20  # fraction bits of the summed embedding tables
GAIN_BITS = 20
_ACCUMULATOR_LIMIT = (1 << 31) - 1
_HEADROOM = 0.98  # rounding the weights adds at most inputs / 2 * 2^12 to an accumulator: below 1% up to 8,192 inputs
_SMALLEST_SHIFT, _LARGEST_SHIFT = 21, 62
_NORM_LIMIT = 1 << 10  # the kernel clamps what enters a layer norm to this magnitude (CLAMP)
_STRONGEST = 4  # neurons of a feed-forward layer that may make an outlier together
_SMALLEST_SCALE = 2.0**-4

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class IntegerLinear:
    """A linear layer: ``y = (sum(a * weights) * mantissa) >> shift + bias``, in panels of 16 output channels."""

    inputs: int
    outputs: int
    weights: NDArray[np.int16]  # (outputs / 16, inputs / 2, 16, 2)
    mantissa: NDArray[np.int32]  # (outputs,)
    shift: NDArray[np.int32]  # (outputs / 16,)
    bias: NDArray[np.int32]  # (outputs,), Q16


def fixed_point(values: Float64, bits: int, name: str) -> NDArray[np.int32]:
    """Round to ``bits`` fraction bits (ties to even) as int32.

    Raises
    ------
    ModelError
        A value is not finite or does not fit.
    """
    scaled = np.rint(values * float(1 << bits))
    if not np.isfinite(scaled).all() or np.abs(scaled).max(initial=0.0) > _ACCUMULATOR_LIMIT:
        message = f"{name} holds values that do not fit {bits} fraction bits in 32; the model file is damaged"
        raise ModelError(message)
    return scaled.astype(np.int32)


def integer_linear(weight: Float64, bias: Float64, name: str) -> IntegerLinear:
    """Quantise a layer per output channel so that no 32-bit accumulator can overflow, whatever the input.

    Parameters
    ----------
    weight : float64, shape (outputs, inputs)
    bias : float64, shape (outputs,)
    name : str
        For error messages.

    Raises
    ------
    ModelError
        Shapes do not suit the kernel, or a value is not finite.
    """
    outputs, inputs = weight.shape
    if outputs % PANEL or inputs % 2 or bias.shape != (outputs,):
        message = f"{name} has shape {weight.shape}; the kernel needs a multiple of {PANEL} outputs and even inputs"
        raise ModelError(message)
    if not np.isfinite(weight).all():
        message = f"{name} holds a weight that is not finite; the model file is damaged"
        raise ModelError(message)
    magnitude = np.abs(weight)
    norms = np.array([math.fsum(row) for row in magnitude.tolist()])
    peaks = magnitude.max(axis=1)
    empty = peaks == 0.0
    norms[empty] = peaks[empty] = 1.0
    scale = np.minimum(_ACCUMULATOR_LIMIT * _HEADROOM / (norms * (1 << ACTIVATION_BITS)), 32767.0 / peaks)
    integers = np.rint(weight * scale[:, None]).astype(np.int64)
    if (np.abs(integers).sum(axis=1) << ACTIVATION_BITS).max() > _ACCUMULATOR_LIMIT:
        message = f"{name} is too wide: {inputs} inputs leave no headroom in a 32-bit accumulator"
        raise ModelError(message)
    inverse = (1.0 / scale).reshape(-1, PANEL)
    shift = 31 - np.frexp(inverse.max(axis=1))[1]
    if shift.min() < _SMALLEST_SHIFT or shift.max() > _LARGEST_SHIFT:
        message = f"{name} has weights that the kernel cannot rescale (shift {shift.min()}..{shift.max()})"
        raise ModelError(message)
    mantissa = np.minimum(np.rint(np.ldexp(inverse, shift[:, None])), _ACCUMULATOR_LIMIT)
    packed = integers.reshape(outputs // PANEL, PANEL, inputs // 2, 2).transpose(0, 2, 1, 3)
    return IntegerLinear(
        inputs=inputs,
        outputs=outputs,
        weights=np.ascontiguousarray(packed, dtype=np.int16),
        mantissa=mantissa.astype(np.int32).reshape(-1),
        shift=shift.astype(np.int32),
        bias=fixed_point(bias, STREAM_BITS, f"{name} bias"),
    )


def feed_forward_reach(up: Float64, up_bias: Float64, gain: Float64, bias: Float64, down: Float64) -> float:
    """Bound what the strongest neurons of a feed-forward layer can add to a number of the residual stream.

    A layer norm of width n gives u * gain + bias with ||u||^2 <= n, which bounds every neuron; an outlier of the stream
    is the work of a few, so the four that can add most to a number count. (All together would be a proof for any input,
    and several times what texts reach.)

    Parameters
    ----------
    up : float64, shape (wide, hidden)
    up_bias : float64, shape (wide,)
    gain, bias : float64, shape (hidden,)
        Of the layer norm before the layer.
    down : float64, shape (hidden, wide)

    Returns
    -------
    float
        The largest such bound of all ``hidden`` numbers.
    """
    squares = np.array([math.fsum(row) for row in np.square(up * gain).tolist()])
    middles = np.array([math.fsum(row) for row in (up * bias).tolist()]) + up_bias
    peaks = np.maximum(0.0, np.sqrt(squares * up.shape[1]) + middles)  # GELU(x) <= max(x, 0)
    strongest = np.sort(np.abs(down) * peaks, axis=1)[:, -_STRONGEST:]
    return max(math.fsum(row) for row in strongest.tolist())


def stream_scale(reach: float) -> float:
    """Power of two, 1 to 1/16, that brings a residual stream of this reach into the range of the kernel's layer norm.

    A layer norm does not feel the scale of its input, so a model whose stream is scaled gives the same vectors.
    """
    scale = 1.0
    while reach * scale >= _NORM_LIMIT and scale > _SMALLEST_SCALE:
        scale /= 2
    return scale


def integer_rows(table: Float64, name: str) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Quantise an embedding table row by row.

    Returns
    -------
    rows : int16, shape (n, width)
    shifts : uint8, shape (n,)
        ``rows[i] << shifts[i]`` is row i with 20 fraction bits.
    """
    if not np.isfinite(table).all():
        message = f"{name} holds a value that is not finite; the model file is damaged"
        raise ModelError(message)
    exponents = np.frexp(np.abs(table).max(axis=1))[1]
    shifts = np.maximum(0, exponents + EMBEDDING_BITS - 15)
    if shifts.max() > 15:
        message = f"{name} holds a value of magnitude {np.abs(table).max():g}; the kernel takes less than 1024"
        raise ModelError(message)
    rows = np.clip(np.rint(np.ldexp(table, (EMBEDDING_BITS - shifts)[:, None])), -32767, 32767)
    return rows.astype(np.int16), shifts.astype(np.uint8)
