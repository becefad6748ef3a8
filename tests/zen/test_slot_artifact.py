import shutil

import numpy as np
import pytest
from blake3 import blake3
from safetensors.numpy import load_file, save_file

from zenso.errors import IntegrityError, ModelError
from zenso.models import CATALOGUE
from zenso.zen import slot_artifact
from zenso.zen.slot_artifact import DATA, load_slot_artifact

MODEL = "all-MiniLM-L6-v2"
FILE = f"{MODEL}.safetensors"
# Another file gives every embedding other bits: stored codes would have to be made again.
DIGEST = "f02674db0d1e69d6379162a11b2353078a1fa44dbdc7ba718dd7b70d6c2f096c"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A copy of the package's data that may be damaged."""
    copy = tmp_path / "data"
    shutil.copytree(DATA, copy)
    monkeypatch.setattr(slot_artifact, "DATA", copy)
    return copy


def test_shipped_artifact():
    artifact = load_slot_artifact(MODEL)
    assert artifact.digest == blake3((DATA / FILE).read_bytes()).digest()
    assert artifact.digest.hex() == DIGEST
    assert (artifact.basis.projection.shape, artifact.basis.projection.dtype) == ((128, 384), np.int16)
    assert (artifact.token_weights.shape, artifact.token_weights.dtype) == ((30522,), np.int32)
    assert artifact.token_weights.min() >= 1
    assert artifact.token_weights.max() <= 255


def test_rows_of_the_projection_are_orthogonal_and_as_long_as_codes_allow():
    projection = load_slot_artifact(MODEL).basis.projection.astype(np.int64)
    products = projection @ projection.T
    assert np.abs(products - 16384**2 * np.eye(128)).max() < 16384 * 20  # half a unit a coordinate, 384 of them


def test_common_words_weigh_less_than_rare_ones(encoder):
    weights = load_slot_artifact(MODEL).token_weights
    vocabulary = encoder.splitting_tokenizer.get_vocab()
    assert weights[vocabulary["the"]] < weights[vocabulary["music"]] < weights[vocabulary["chromosome"]]


def test_every_artifact_belongs_to_a_model_of_the_catalogue():
    shipped = {path.stem for path in DATA.glob("*.safetensors")}
    assert MODEL in shipped
    assert shipped <= {entry.name for entry in CATALOGUE}
    for name in shipped:
        load_slot_artifact(name)


@pytest.mark.parametrize("name", ["no-such-model", "../zen", ""])
def test_unknown_model_is_told_what_is_shipped(name):
    with pytest.raises(ModelError, match=f"{name!r}; there are some for {MODEL}"):
        load_slot_artifact(name)


@pytest.mark.parametrize("kept", [0, 7, 20_000])
def test_truncated_file(data, kept):
    path = data / FILE
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(IntegrityError, match=r"damaged.*reinstall zenso"):
        load_slot_artifact(MODEL)


def test_file_that_is_something_else(data):
    (data / FILE).write_bytes(b"<!DOCTYPE html>" * 1000)
    with pytest.raises(IntegrityError, match="damaged"):
        load_slot_artifact(MODEL)


@pytest.mark.parametrize("missing", ["projection", "share", "units", "frequencies", "documents"])
def test_tensor_is_missing(data, missing):
    tensors = load_file(data / FILE)
    del tensors[missing]
    save_file(tensors, data / FILE)
    with pytest.raises(IntegrityError, match=missing):
        load_slot_artifact(MODEL)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("projection", np.zeros((127, 384), np.int16)),
        ("projection", np.zeros((128, 384), np.float32)),
        ("projection", np.zeros(128, np.int16)),
        ("share", np.zeros(2, np.int32)),
        ("share", np.full(1, 54, np.int32)),
        ("units", np.ones((3, 2), np.int64)),
        ("units", np.zeros((3, 2), np.int32)),
        ("frequencies", np.ones(30522, np.int64)),
        ("frequencies", np.ones((2, 15261), np.int32)),
        ("frequencies", np.full(30522, -1, np.int32)),
        ("frequencies", np.full(30522, 10**6, np.int32)),
        ("documents", np.zeros(1, np.int32)),
        ("documents", np.full(2, 10**6, np.int32)),
        ("documents", np.full(1, 10**6, np.int64)),
    ],
)
def test_tensor_of_another_kind(data, name, tensor):
    save_file(load_file(data / FILE) | {name: tensor}, data / FILE)
    with pytest.raises(IntegrityError, match="reinstall zenso"):
        load_slot_artifact(MODEL)
