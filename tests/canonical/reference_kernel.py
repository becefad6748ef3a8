"""The kernel's forward pass once more, slowly and from its documentation: plain numpy int64 and Python integers.

It shares no code with the kernel and no trick of its: no panels, no packing, no approximations that a comparison
corrects. Where the kernel relies on a bound, this model checks it.
"""

import math
from dataclasses import dataclass

import numpy as np

ACTIVATION_BITS = 12
VALUE_BITS = 13
CLAMP = 1 << 26
EXP2_ZERO = 15 << 12
UNIT = 32767


@dataclass(frozen=True)
class Linear:
    weights: np.ndarray  # (outputs, inputs)
    mantissa: np.ndarray  # (outputs,)
    shift: np.ndarray  # (outputs,)
    bias: np.ndarray  # (outputs,)


@dataclass(frozen=True)
class Norm:
    gain: np.ndarray
    bias: np.ndarray
    epsilon: int


@dataclass(frozen=True)
class Layer:
    qkv: Linear
    attention_output: Linear
    up: Linear
    down: Linear
    attention_norm: Norm
    output_norm: Norm


def bounded(x, bits):
    """Check that numbers fit a signed integer of ``bits`` bits, as the kernel assumes."""
    limit = 1 << (bits - 1)
    assert x.size == 0 or (-limit <= x.min() and x.max() < limit), f"{x.min()}..{x.max()} does not fit {bits} bits"
    return x


def shifted(x, shift):
    """x / 2^shift, halves rounded up; shift 0 leaves x as it is."""
    return (x + ((1 << shift) >> 1)) >> shift


def magnitude_bits(x):
    return int(np.abs(x).max()).bit_length()


class Model:
    """The ``kernel`` section of an artifact, unpacked."""

    def __init__(self, artifact):
        self._image = artifact.kernel.tobytes()
        self._artifact = artifact
        header = self._numbers(0, 19)
        self.hidden, layers, self.heads, self.head_width, wide, positions = (int(n) for n in header[3:9])
        self.positions = self._numbers(header[9], positions * self.hidden).reshape(positions, self.hidden)
        epsilon = int(header[13])
        self.embedding_norm = self._norm(header[10:12], int(header[12]))
        self.gelu = self._numbers(header[14], int(header[15]) + 1)
        self.rows_pooled = 1 if header[17] else None
        self.bias = None
        if header[18]:
            self.bias = self._numbers(header[18], self.heads * (2 * positions - 1)).reshape(self.heads, -1)
        self.layers = []
        words = self._numbers(header[16], layers * 28).reshape(layers, 28)
        for row in words:
            parts = [self._linear(row[6 * i : 6 * i + 6]) for i in range(4)]
            assert parts[2].weights.shape == (wide, self.hidden)
            self.layers.append(Layer(*parts, self._norm(row[24:26], epsilon), self._norm(row[26:28], epsilon)))

    def _numbers(self, offset, count, dtype="<i4"):
        return np.frombuffer(self._image, dtype, int(count), int(offset)).astype(np.int64)

    def _norm(self, words, epsilon):
        return Norm(self._numbers(words[0], self.hidden), self._numbers(words[1], self.hidden), epsilon)

    def _linear(self, words):
        inputs, outputs, weights, mantissa, shift, bias = (int(word) for word in words)
        packed = self._numbers(weights, inputs * outputs, "<i2").reshape(outputs // 16, inputs // 2, 16, 2)
        rows = np.empty((outputs, inputs), np.int64)
        for channel in range(outputs):
            rows[channel] = packed[channel // 16, :, channel % 16, :].reshape(inputs)
        return Linear(
            rows,
            self._numbers(mantissa, outputs),
            np.repeat(self._numbers(shift, outputs // 16), 16),
            self._numbers(bias, outputs),
        )

    def states(self, ids):
        """Token states of one text: Q16, shape (tokens, hidden)."""
        words = self._artifact.words[ids].astype(np.int64) << self._artifact.shifts[ids].astype(np.int64)[:, None]
        x = layer_norm(bounded(words + self.positions[: len(ids)], 32), self.embedding_norm)
        for layer in self.layers:
            x = self._layer(x, layer)
        return x

    def _layer(self, x, layer):
        attended = self._attention(linear(x, layer.qkv))
        x = layer_norm(bounded(x + linear(attended, layer.attention_output), 32), layer.attention_norm)
        wide = gelu(linear(x, layer.up), self.gelu)
        return layer_norm(bounded(x + linear(wide, layer.down), 32), layer.output_norm)

    def _attention(self, qkv):
        out = np.empty((len(qkv), self.hidden), np.int64)
        for head in range(self.heads):
            columns = slice(head * self.head_width, (head + 1) * self.head_width)
            parts = [qkv[:, part * self.hidden :][:, columns] for part in range(3)]
            out[:, columns] = attend(*parts, None if self.bias is None else self.bias[head])
        return out


def linear(x, layer):
    """Each row is cut to 12 magnitude bits, multiplied, rescaled to Q16; the bias is added."""
    out = np.empty((len(x), len(layer.bias)), np.int64)
    for r, row in enumerate(x):
        cut = max(0, magnitude_bits(row) - ACTIVATION_BITS)
        activation = shifted(row, cut)
        assert np.abs(activation).max() <= 1 << ACTIVATION_BITS
        sums = bounded(layer.weights @ activation, 32)
        shift = layer.shift - cut
        assert shift.min() >= 1
        out[r] = bounded((sums * layer.mantissa + (1 << (shift - 1))) >> shift, 32) + layer.bias
    return bounded(out, 32)


def inverse_root(x):
    """A factor and a shift: value * factor / 2^shift is value / sqrt(x)."""
    lead = (62 - x.bit_length()) // 2 * 2
    assert lead >= 0
    root = math.isqrt(x << lead)
    return ((1 << 61) - 1) // root, 61 - lead // 2


def layer_norm(x, norm):
    out = np.empty_like(x)
    width = x.shape[1]
    for r, row in enumerate(x):
        clamped = np.clip(row, -CLAMP, CLAMP)
        total = int(clamped.sum())
        centred = clamped - (abs(total) // width * (1 if total >= 0 else -1))
        variance = int((centred * centred).sum()) // width + norm.epsilon
        factor, shift = inverse_root(max(1, variance))
        unit = bounded(shifted(centred * factor, shift - 22), 32)
        out[r] = bounded(shifted(unit * norm.gain, 26), 32) + norm.bias
    return bounded(out, 32)


def gelu(x, table):
    value, step = table >> 16, ((table & 0xFFFF) ^ 0x8000) - 0x8000
    u = np.minimum(np.abs(x), ((len(table) - 1) << 9) - 1)
    tail = value[u >> 9] + ((step[u >> 9] * (u & 511) + 256) >> 9)
    return np.maximum(x, 0) - ((tail + 1) >> 1)


def exp2_negative(t):
    """2^-t for one t in Q12, in Q14: a quartic in the fraction, halved as often as the whole part says."""
    fraction = (t & 4095) * 8
    p = 256
    for coefficient in (-1805, 7878, -22712, 32767):
        p = ((fraction * p + (1 << 14)) >> 15) + coefficient
    return ((p >> (t >> 12)) + 1) >> 1


def soft_weights(scores, fraction_bits):
    """Attention weights of one query row, unnormalised: 2^(score - peak) with at most 17 bits of sum (and rows)."""
    peak = max(scores)
    weights = []
    for score in scores:
        distance = peak - score
        t = shifted(distance, fraction_bits - 12) if fraction_bits >= 12 else distance << (12 - fraction_bits)
        weights.append(exp2_negative(min(t, EXP2_ZERO)))
    cut = max(0, sum(weights).bit_length() - 17)
    return [shifted(weight, cut) for weight in weights]


def attend(query, key, value, bias=None):
    key_cut = max(0, magnitude_bits(key) - ACTIVATION_BITS)
    value_cut = max(0, magnitude_bits(value) - VALUE_BITS)
    key, value = shifted(key, key_cut), shifted(value, value_cut)
    out = np.empty_like(query)
    for r, row in enumerate(query):
        cut = max(0, magnitude_bits(row) - ACTIVATION_BITS)
        scores, bits = bounded(key @ shifted(row, cut), 31), 32 - key_cut - cut
        if bias is not None:  # Q24, or as many fraction bits as the scores have, if fewer
            scores, bits = shifted(scores, max(0, bits - 24)), min(bits, 24)
            middle = len(bias) // 2 - r
            scores = bounded(scores + shifted(bias[middle : middle + len(scores)], min(30, 24 - bits)), 32)
        weights = soft_weights(scores.tolist(), bits)
        inverse = (1 << 44) // sum(weights)
        sums = bounded(np.array(weights) @ value, 32)
        out[r] = bounded(shifted(sums * inverse, 44 - value_cut), 32)
    return out


def direction(x):
    """x / ||x|| in Q15, within two units."""
    x = np.clip(x, -CLAMP, CLAMP)
    factor, shift = inverse_root(max(1, int((x * x).sum())))
    return np.clip(shifted(x * factor, shift - 15), -UNIT, UNIT)


def normalised(v):
    """32767 * v / ||v||, correctly rounded, ties to even: exact, by integer square roots."""
    squares = sum(a * a for a in v)
    if not squares:
        return np.zeros(len(v), np.int64)
    out = []
    for a in v:
        numerator = (UNIT * a) ** 2
        q = math.isqrt(numerator // squares)
        # The true value against the middle between q and q + 1, both squared and times 4 * squares.
        middle = (2 * q + 1) ** 2 * squares
        if 4 * numerator > middle or (4 * numerator == middle and q % 2):
            q += 1
        out.append(q if a >= 0 else -q)
    return np.array(out)


def pooled(states, rows=None):
    return normalised([int(n) for n in np.clip(states[:rows], -CLAMP, CLAMP).sum(axis=0)])


def directions(states):
    return np.stack([direction(row) for row in states])


def nearest_cells(tokens, cells):
    return [max(range(len(cells)), key=lambda c: (int(token @ cells[c]), -c)) for token in tokens]


def document_slots(tokens, cells):
    cells = cells.astype(np.int64)
    own = nearest_cells(tokens, cells)
    slots = []
    for c, cell in enumerate(cells):
        members = [token for token, nearest in zip(tokens, own, strict=True) if nearest == c]
        if members:
            slots.append(direction(np.sum(members, axis=0)))
        else:
            slots.append(tokens[max(range(len(tokens)), key=lambda r: (int(tokens[r] @ cell), -r))])
    return np.stack(slots)


def query_slots(tokens, cells, weights):
    slots = np.zeros((len(cells), tokens.shape[1]), np.int64)
    for token, cell, weight in zip(tokens, nearest_cells(tokens, cells.astype(np.int64)), weights, strict=True):
        slots[cell] += int(weight) * token
    return slots
