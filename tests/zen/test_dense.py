import numpy as np
import pytest
from blake3 import blake3
from safetensors.numpy import load, save

from tests.zen.test_aligned_encoder import MODEL, NOTES, QUESTIONS, identity
from zenso.canonical import Role
from zenso.errors import InputError, IntegrityError, ModelError
from zenso.zen import DENSE_DIMENSIONS, AlignedEncoder, cut_dense
from zenso.zen.dense import _DATA, load_dense_slots, read_dense_slots

FOX = "The quick brown fox jumps over the lazy dog."
FOX_DOCUMENT = "c3b3a3b3d64e69a74c9d9a63f1420b4f6fa6aefd4b316f2f1c27ce10c0ae58bc"
FOX_QUERY = "6362e072a88b6611643785ed8e80263f135d8d735a9feadf5aa22fe574b85182"
LARGER = DENSE_DIMENSIONS[1:]


@pytest.fixture(scope="module")
def slots():
    return load_dense_slots(MODEL)


@pytest.fixture(scope="module")
def file():
    return (_DATA / f"{MODEL}.safetensors").read_bytes()


def reference(slots, states, role):
    """What the module says, in floating point."""
    tokens, weights = states.tokens / 32767, slots.token_weights[states.ids].astype(float)
    nearness = tokens @ (slots.cells / 32767).T
    cells = []
    for cell in range(19):
        mine = nearness.argmax(axis=1) == cell
        total = (weights[mine, None] * tokens[mine]).sum(axis=0)
        if role is Role.DOCUMENT and mine.any():
            total *= (weights[mine].sum() / weights.sum()) ** 0.125 / np.linalg.norm(total)
        elif role is Role.DOCUMENT:
            total = tokens[nearness[:, cell].argmax()] * 0.5 * (1 / len(tokens)) ** 0.125
        cells.append(total)
    gathered = np.array(cells)
    if role is Role.QUERY:
        gathered /= np.linalg.norm(gathered)
    rotated = (slots.cell_axes / 16384).T @ gathered @ (slots.axes / 16384)
    first = states.vector / 32767 * slots.pooled_shares[int(role is Role.QUERY)] / 256
    vector = np.concatenate([first, rotated.reshape(-1)[slots.order]])
    return vector / np.linalg.norm(vector)


def digest(vectors):
    return blake3(vectors.astype("<i2").tobytes()).hexdigest()


def test_a_known_text(encoder):
    assert digest(encoder.encode_dense([FOX], 7680).vectors) == FOX_DOCUMENT
    assert digest(encoder.encode_dense([FOX], 7680, role=Role.QUERY).vectors) == FOX_QUERY


@pytest.mark.parametrize("role", Role)
def test_follows_the_definition(encoder, slots, texts, role):
    found = encoder.encode_dense(texts, 7680, role=role).floats
    expected = np.stack([reference(slots, states, role) for states in encoder.encode_tokens(texts)])
    assert np.abs(found - expected).max() < 2e-4
    assert (found * expected).sum(axis=1).min() > 0.9999


def test_384_is_the_canonical_vector(encoder, texts):
    embedded = encoder.encode_dense(texts)
    assert np.array_equal(embedded.vectors, encoder.encode_vectors(texts))
    assert embedded.token_counts.tolist() == [len(states.ids) for states in encoder.encode_tokens(texts)]


@pytest.mark.parametrize("dimensions", LARGER)
def test_unit_vectors_whose_floats_give_the_numbers_back(encoder, texts, dimensions):
    embedded = encoder.encode_dense(texts, dimensions)
    assert (embedded.vectors.shape, embedded.vectors.dtype) == ((len(texts), dimensions), np.int16)
    assert embedded.floats.dtype == np.float32
    assert np.array_equal(np.rint(embedded.floats * 32767), embedded.vectors)
    assert np.linalg.norm(embedded.floats.astype(float), axis=1) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("dimensions", LARGER)
def test_a_prefix_is_the_smaller_vector(encoder, texts, dimensions):
    whole = encoder.encode_dense(texts, 7680).vectors
    expected = encoder.encode_dense(texts, dimensions).vectors
    assert np.array_equal(cut_dense(whole, dimensions), expected)


def test_the_first_numbers_are_the_canonical_vector_but_for_rounding(encoder, texts):
    first = encoder.encode_dense(texts, 7680).floats[:, :384].astype(float)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    assert np.abs(32767 * first - encoder.encode_vectors(texts)).max() < 10


def test_same_bits_alone_and_in_any_order(encoder, texts):
    together = encoder.encode_dense(texts, 3840).vectors
    order = np.random.default_rng(1).permutation(len(texts))
    assert np.array_equal(encoder.encode_dense([texts[row] for row in order], 3840).vectors, together[order])
    assert np.array_equal(encoder.encode_dense(texts[-1:], 3840).vectors, together[-1:])


def test_progress_and_nothing_to_encode(encoder, texts):
    done = []
    encoder.encode_dense(texts, 1920, on_progress=done.append)
    assert sum(done) == len(texts)
    assert encoder.encode_dense([], 1920).floats.shape == (0, 1920)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("dimensions", DENSE_DIMENSIONS)
def test_questions_find_their_notes(encoder, dimensions, role):
    notes = encoder.encode_dense(list(NOTES.values()), dimensions).floats
    questions = encoder.encode_dense([QUESTIONS[name] for name in NOTES], dimensions, role=role).floats
    assert (questions @ notes.T).argmax(axis=1).tolist() == list(range(len(NOTES)))


def test_provenance_names_the_dense_slots(encoder, slots):
    assert encoder.dense_provenance.slots == slots.digest.hex()
    assert encoder.dense_provenance.code == "dense/1"
    assert encoder.dense_provenance.model == encoder.provenance.model


def test_an_aligned_encoder_lands_near(encoder):
    aligned = AlignedEncoder(MODEL, MODEL, aligner=identity(encoder))
    near = (aligned.encode_dense([FOX], 7680).floats * encoder.encode_dense([FOX], 7680).floats).sum()
    assert near > 0.999
    assert aligned.dense_provenance.aligner == aligned.aligner.digest.hex()


@pytest.mark.parametrize("dimensions", [0, 768, -1, 7681, True, None])
def test_sizes_that_there_are_not(encoder, dimensions):
    with pytest.raises(InputError, match="384, 1920, 3840, 7680"):
        encoder.encode_dense(["fine"], dimensions)


@pytest.mark.parametrize(("width", "dimensions"), [(1920, 3840), (7680, 384), (1921, 1920)])
def test_cuts_that_cannot_be(width, dimensions):
    with pytest.raises(InputError, match=f"{width} dimensions cannot be cut to {dimensions}"):
        cut_dense(np.ones((1, width), np.int16), dimensions)


def test_empty_texts_are_named(encoder):
    with pytest.raises(InputError, match="text 1 is empty"):
        encoder.encode_dense(["fine", " "], 1920)


def test_shipped_rotations_keep_lengths(slots):
    for axes in (slots.cell_axes, slots.axes):
        product = axes.astype(float).T @ axes / 16384**2
        assert np.abs(product - np.eye(len(axes))).max() < 1e-3


def test_a_model_without_dense_slots():
    with pytest.raises(ModelError, match="no dense slots are shipped for the model 'other'"):
        load_dense_slots("other")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("order"),
        lambda tensors: tensors.update(more=np.zeros(1)),
        lambda tensors: tensors.update(cells=tensors["cells"][:5].copy()),
        lambda tensors: tensors.update(axes=tensors["axes"].astype(np.int32)),
        lambda tensors: tensors.update(order=np.zeros_like(tensors["order"])),
        lambda tensors: tensors.update(token_weights=np.zeros_like(tensors["token_weights"])),
        lambda tensors: tensors.update(pooled_shares=np.array([1024, 1], np.int32)),
    ],
)
def test_damaged_files_are_refused(file, change):
    tensors = load(file)
    change(tensors)
    with pytest.raises(IntegrityError, match=r"given\.safetensors.*reinstall"):
        read_dense_slots(save(tensors), "given.safetensors")
    with pytest.raises(IntegrityError, match="reinstall"):
        read_dense_slots(file[:-10], "given.safetensors")
