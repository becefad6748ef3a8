import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zenso.canonical.integer_weights import (
    ACTIVATION_BITS,
    feed_forward_reach,
    fixed_point,
    integer_linear,
    integer_rows,
    stream_scale,
)
from zenso.errors import ModelError

INT32_MAX = 2**31 - 1

# Models are published in float32 or less; some rows are empty, some hold one large weight.
layers = st.integers(1, 2).flatmap(
    lambda panels: st.integers(1, 24).flatmap(
        lambda pairs: hnp.arrays(
            np.float64,
            (16 * panels, 2 * pairs),
            elements=st.one_of(st.just(0.0), st.floats(-16, 16, width=32), st.floats(-(2**-8), 2**-8, width=32)),
        )
    )
)


def unpacked(layer):
    return layer.weights.transpose(0, 2, 1, 3).reshape(layer.outputs, layer.inputs).astype(np.int64)


def usable(weight):
    """A panel in which every row is all but empty cannot be rescaled; the kernel refuses it."""
    peaks = np.abs(weight).max(axis=1)
    peaks[peaks == 0] = 1
    return (peaks.reshape(-1, 16).max(axis=1) > 2**-20).all()


@given(layers.filter(usable))
def test_no_input_overflows_an_accumulator(weight):
    layer = integer_linear(weight, np.zeros(len(weight)), "layer")
    integers = unpacked(layer)
    limit = 1 << ACTIVATION_BITS
    worst = np.where(integers < 0, -limit, limit)
    # Partial sums too: the kernel adds pairs in order, and every prefix of the worst input grows.
    assert np.cumsum(integers * worst, axis=1).max() <= INT32_MAX
    assert np.cumsum(integers * -worst, axis=1).min() >= -INT32_MAX


@given(layers.filter(usable), st.integers(0, 2**32 - 1))
def test_products_are_near_the_float_ones(weight, seed):
    layer = integer_linear(weight, np.zeros(len(weight)), "layer")
    activation = np.random.default_rng(seed).integers(-4096, 4097, weight.shape[1])
    sums = unpacked(layer) @ activation
    shift = np.repeat(layer.shift, 16).astype(np.float64)
    got = sums * layer.mantissa / 2**shift
    expected = weight @ activation
    # A rounded weight is off by half a unit at most, and a unit is 1 / scale = mantissa / 2^shift. A mantissa is off by
    # half a unit, too, which shows in rows much smaller than the largest of their panel.
    allowed = np.abs(activation).sum() * 0.5001 * layer.mantissa / 2**shift + np.abs(sums) * 0.51 / 2**shift
    assert (np.abs(got - expected) <= allowed + 1e-9).all()


@given(layers.filter(usable))
def test_packing_has_the_layout_of_the_kernel(weight):
    layer = integer_linear(weight, np.zeros(len(weight)), "layer")
    outputs, inputs = weight.shape
    assert (layer.outputs, layer.inputs) == (outputs, inputs)
    assert layer.weights.shape == (outputs // 16, inputs // 2, 16, 2)
    assert layer.weights.flags.c_contiguous
    signs = unpacked(layer) * np.sign(weight)
    assert (signs >= 0).all()  # each weight is where its sign says, or 0
    assert (np.abs(layer.weights.astype(np.int64)) <= 32767).all()
    assert layer.mantissa.min() >= 0
    assert ((layer.shift >= 21) & (layer.shift <= 62)).all()


def test_same_weights_give_the_same_integers_in_any_memory_order():
    weight = np.random.default_rng(0).normal(size=(32, 64))
    first = integer_linear(weight, weight[:, 0], "layer")
    second = integer_linear(np.asfortranarray(weight), weight[:, 0].copy(), "layer")
    for name in ("weights", "mantissa", "shift", "bias"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(value):
    weight = np.ones((16, 2))
    weight[3, 1] = value
    with pytest.raises(ModelError, match="layer holds a weight that is not finite"):
        integer_linear(weight, np.zeros(16), "layer")
    with pytest.raises(ModelError, match="table holds a value that is not finite"):
        integer_rows(weight, "table")
    with pytest.raises(ModelError, match="layer bias holds values that do not fit"):
        integer_linear(np.ones((16, 2)), weight[:, 1], "layer")


@pytest.mark.parametrize(("shape", "bias"), [((15, 2), 15), ((17, 2), 17), ((16, 3), 16), ((16, 2), 15)])
def test_shapes_that_the_kernel_cannot_run_are_refused(shape, bias):
    with pytest.raises(ModelError, match="layer has shape"):
        integer_linear(np.ones(shape), np.zeros(bias), "layer")


def test_weights_that_cannot_be_rescaled_are_refused():
    with pytest.raises(ModelError, match="cannot rescale"):
        integer_linear(np.full((16, 2), 1e-30), np.zeros(16), "layer")


def test_a_layer_of_zeros_gives_its_bias():
    layer = integer_linear(np.zeros((16, 4)), np.full(16, 0.5), "layer")
    assert not layer.weights.any()
    assert (layer.bias == 1 << 15).all()


@given(hnp.arrays(np.float64, 8, elements=st.floats(-2000, 2000)))
def test_fixed_point_rounds_to_the_nearest(values):
    rounded = fixed_point(values, 20, "values")
    assert rounded.dtype == np.int32
    assert (np.abs(rounded - values * 2**20) <= 0.5).all()


def test_fixed_point_rounds_ties_to_even():
    assert fixed_point(np.array([0.5, 1.5, -0.5, -2.5]), 0, "values").tolist() == [0, 2, 0, -2]


def test_fixed_point_refuses_what_does_not_fit():
    assert fixed_point(np.array([INT32_MAX / 65536]), 16, "values")[0] == INT32_MAX
    with pytest.raises(ModelError, match="values holds values that do not fit 16 fraction bits"):
        fixed_point(np.array([32768.0]), 16, "values")


@given(hnp.arrays(np.float64, (3, 8), elements=st.floats(-1000, 1000)))
def test_rows_are_near_what_they_stand_for(table):
    rows, shifts = integer_rows(table, "table")
    assert rows.dtype == np.int16
    assert shifts.dtype == np.uint8
    unit = 2.0 ** (shifts.astype(int) - 20)
    # Half a unit; a peak just below the next power of two is cut to 32767, which costs a whole one.
    assert (np.abs(rows * unit[:, None] - table) <= unit[:, None]).all()
    assert (np.abs(rows.astype(np.int64)) << shifts[:, None].astype(int)).max() < 2**30


def test_rows_that_are_too_large_are_refused():
    with pytest.raises(ModelError, match="takes less than 1024"):
        integer_rows(np.full((2, 8), 2000.0), "table")


@given(st.integers(0, 2**32 - 1))
def test_no_four_neurons_add_more_than_the_reach(seed):
    random = np.random.default_rng(seed)
    up, down = random.normal(size=(12, 8)), random.normal(size=(8, 12))
    up_bias, gain, bias = random.normal(size=12), random.normal(size=8), random.normal(size=8)
    reach = feed_forward_reach(up, up_bias, gain, bias, down)
    # Inputs that excite one neuron each as far as a layer norm can, and some that excite none in particular.
    directions = np.concatenate([up * gain, random.normal(size=(50, 8))])
    normalised = directions / np.linalg.norm(directions, axis=1, keepdims=True) * np.sqrt(8)
    neurons = np.maximum(0, (normalised * gain + bias) @ up.T + up_bias)
    added = np.sort(np.abs(neurons[:, None, :] * down), axis=2)[:, :, -4:].sum(axis=2)
    assert added.max() <= reach * (1 + 1e-12)


def test_one_neuron_reaches_what_it_can():
    up, down = np.array([[3.0, 4.0]]), np.array([[7.0], [-10.0]])
    # u = (0.6, 0.8) * sqrt(2) excites it most: 5 * sqrt(2), plus the biases 3 * 1 + 4 * 2 and 0.5.
    reach = feed_forward_reach(up, np.array([0.5]), np.ones(2), np.array([1.0, 2.0]), down)
    assert reach == pytest.approx(10 * (5 * 2**0.5 + 11.5), rel=1e-15)


@pytest.mark.parametrize(
    ("reach", "scale"), [(0.0, 1.0), (1023.9, 1.0), (1024.0, 0.5), (2897.0, 0.25), (16383.0, 1 / 16), (1e9, 1 / 16)]
)
def test_the_stream_is_scaled_below_the_clamp(reach, scale):
    assert stream_scale(reach) == scale
