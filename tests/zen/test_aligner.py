import random

import numpy as np
import pytest
from blake3 import blake3
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bench.small_model import SmallModel
from zenso.canonical import CanonicalEncoder, Want, normalise, quantise
from zenso.errors import InputError, IntegrityError, ModelError, StorageError
from zenso.models import CATALOGUE
from zenso.zen import Aligner, ModelFiles, Pairs, canonical_pairs, load_aligner, match_tokens
from zenso.zen.aligner import DATA
from zenso.zen.pairs import word_directions

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MODEL, OTHER = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
# Another file gives every aligned embedding other bits.
DIGEST = "635e61d227a68350398ecaccaa67985e3feb19f7e7be71a3709bc73ffae70778"


def some_texts(count, seed):
    source = random.Random(seed)
    return [" ".join(source.choices(LETTERS, k=source.randint(1, 12))) for _ in range(count)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    source = SmallModel(1, kind="mpnet", hidden=128, heads=4)
    return tuple(
        CanonicalEncoder(model.open(tmp_path_factory.mktemp("model")), threads=1) for model in (source, SmallModel(2))
    )


@pytest.fixture(scope="module")
def aligner(models):
    source, target = models
    ids = match_tokens(source, target)
    return Aligner.fit(
        ModelFiles.of(source.provenance),
        ModelFiles.of(target.provenance),
        canonical_pairs(source, target, some_texts(600, 0), ids),
        token_ids=ids,
        training="random letters",
    )


def cosines(one, other):
    one, other = one.astype(np.float64), other.astype(np.float64)
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_unseen_vectors_come_near_to_the_other_models(models, aligner):
    source, target = models
    texts = some_texts(100, 1)
    theirs = target.encode(texts).pooled
    found = aligner.align_vectors(source.encode(texts).pooled)
    assert (found.shape, found.dtype) == ((100, 64), np.int16)
    assert np.abs(np.linalg.norm(found.astype(np.float64), axis=1) - 32767).max() < 8
    mean = np.tile(theirs.mean(axis=0), (100, 1))
    assert 1 - cosines(found, theirs).mean() < 0.8 * (1 - cosines(mean, theirs).mean())


def test_unseen_tokens_come_near_to_the_other_models(models, aligner):
    source = models[0]
    texts = some_texts(30, 2)
    ours, theirs = (model.encode(texts, Want.TOKENS | Want.POOLED) for model in models)
    assert aligner.maps_tokens
    for ids, tokens, wanted, wanted_ids in zip(ours.ids, ours.tokens, theirs.tokens, theirs.ids, strict=True):
        found = aligner.align_tokens(tokens, word_directions(source.artifact, ids))
        assert (found.shape, found.dtype) == (wanted.shape, np.int16)
        assert cosines(found, wanted).mean() > 0.7
        assert np.array_equal(aligner.align_ids(ids), wanted_ids)


def test_same_bits_alone_and_together(models, aligner):
    vectors = models[0].encode(some_texts(20, 3)).pooled
    together = aligner.align_vectors(vectors)
    assert all(np.array_equal(aligner.align_vectors(vectors[row : row + 1])[0], together[row]) for row in range(20))
    assert np.array_equal(aligner.align_vectors(np.asfortranarray(vectors)), together)


def test_floats_are_normalised_and_quantised(aligner):
    floats = np.random.default_rng(0).normal(size=(5, 128)).astype(np.float32)
    found = aligner.align_vectors(floats)
    assert np.array_equal(found, aligner.align_vectors(quantise(normalise(floats))))
    assert np.array_equal(found, aligner.align_vectors(4 * floats))


def test_pooled_vectors_of_any_model_are_enough():
    random_numbers = np.random.default_rng(1)
    turn = random_numbers.normal(size=(20, 8))
    vectors = random_numbers.normal(size=(300, 20))
    learned = Aligner.fit(ModelFiles("somewhere/else"), ModelFiles("here"), [Pairs(vectors, vectors @ turn)])
    assert not learned.maps_tokens
    assert cosines(learned.align_vectors(vectors[:50]), vectors[:50] @ turn).min() > 0.95
    with pytest.raises(InputError, match=r"somewhere/else maps pooled vectors only"):
        learned.align_tokens(np.zeros((1, 20), np.int16), np.zeros((1, 20), np.int16))
    with pytest.raises(InputError, match=r"somewhere/else maps pooled vectors only"):
        learned.align_ids(np.zeros(1, np.int32))


def test_saved_and_loaded(aligner, tmp_path):
    path = tmp_path / "aligner.safetensors"
    aligner.save(path)
    loaded = Aligner.load(path)
    assert loaded.digest == aligner.digest == blake3(path.read_bytes()).digest()
    assert (loaded.source, loaded.target, loaded.training) == (aligner.source, aligner.target, "random letters")
    vectors = np.random.default_rng(2).normal(size=(4, 128))
    assert np.array_equal(loaded.align_vectors(vectors), aligner.align_vectors(vectors))
    assert np.array_equal(loaded.token_ids, aligner.token_ids)


@pytest.mark.parametrize(
    ("vectors", "named"),
    [
        (np.zeros((2, 64), np.int16), "64 coordinates.*have 128"),
        (np.zeros((2, 128), np.int32), "int32"),
        (np.zeros(128, np.int16), r"\(128,\)"),
        (np.full((1, 128), np.nan), "NaN"),
    ],
)
def test_vectors_that_cannot_be_mapped(aligner, vectors, named):
    with pytest.raises(InputError, match=named):
        aligner.align_vectors(vectors)


def test_tokens_that_cannot_be_mapped(aligner):
    good = np.zeros((3, 128), np.int16)
    for tokens, words in ((good, good[:2]), (good[:, :64], good), (good.astype(np.int32), good)):
        with pytest.raises(InputError, match=r"int16 \(m, 128\)"):
            aligner.align_tokens(tokens, words)
    for ids in ([-1], [10**6]):
        with pytest.raises(InputError, match="token ids are"):
            aligner.align_ids(np.array(ids, np.int32))


def test_nothing_to_learn_from():
    with pytest.raises(InputError, match="no pairs"):
        Aligner.fit(ModelFiles("a"), ModelFiles("b"), [])


def test_places_that_cannot_be_read_or_written(aligner, tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        Aligner.load(tmp_path / "nowhere")
    with pytest.raises(StorageError, match=r"cannot write the aligner .*no such folder"):
        aligner.save(tmp_path / "no such folder" / "aligner.safetensors")


@pytest.mark.parametrize("kept", [0, 7, 5000])
def test_truncated_file(aligner, tmp_path, kept):
    path = tmp_path / "aligner.safetensors"
    path.write_bytes(aligner.to_bytes()[:kept])
    with pytest.raises(IntegrityError, match="damaged"):
        Aligner.load(path)


@pytest.mark.parametrize("missing", ["pooled.weights", "pooled.bias", "tokens.weights", "tokens.bias", "token_ids"])
def test_tensor_is_missing(aligner, tmp_path, missing):
    path = tmp_path / "aligner.safetensors"
    aligner.save(path)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    del tensors[missing]
    save_file(tensors, path, metadata)
    with pytest.raises(IntegrityError, match="damaged"):
        Aligner.load(path)


def test_file_of_something_else(tmp_path):
    path = tmp_path / "aligner.safetensors"
    save_file({"projection": np.zeros((2, 2), np.int16)}, path)
    with pytest.raises(IntegrityError, match="__metadata__"):
        Aligner.load(path)


def test_every_shipped_aligner_belongs_to_models_of_the_catalogue():
    ids = {entry.name: entry.model_id for entry in CATALOGUE}
    shipped = list(DATA.glob("*/*.safetensors"))
    assert shipped
    for path in shipped:
        assert path.stat().st_size < 2_000_000
        found = load_aligner(path.stem, path.parent.name)
        assert (found.source.model_id, found.target.model_id) == (ids[path.stem], ids[path.parent.name])
        assert "CC BY-SA 4.0" in found.training
    assert load_aligner(OTHER, MODEL).digest.hex() == DIGEST


def test_unknown_pair_is_told_what_is_shipped():
    with pytest.raises(ModelError, match=f"from {MODEL} to {OTHER} is shipped, only {OTHER} to {MODEL}"):
        load_aligner(MODEL, OTHER)
