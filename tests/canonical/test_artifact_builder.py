import json

import numpy as np
import pytest

from bench.float_reference import FloatEncoder, published_bucket
from zenso import models
from zenso.canonical import CanonicalEncoder, ModelSpec, Role, build_artifact, open_artifact
from zenso.canonical.architectures import mpnet_bucket
from zenso.errors import ModelError, StorageError

SPEC = ModelSpec("small/random")
TEXTS = ["a", "hello, world!", "the quick brown fox jumps over the lazy dog", "z y x w v u t s r q p o n m l k j i h"]


def refused(model, folder, match):
    model.write(folder)
    with pytest.raises(ModelError, match=match):
        build_artifact(folder, folder / "model.zenso", SPEC)
    assert not (folder / "model.zenso").exists()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [{}, {"hidden": 96, "heads": 3, "wide": 384, "layers": 4}])
def test_vectors_are_those_of_the_float_model(small_model, tmp_path, seed, shape):
    artifact = small_model(seed, **shape).open(tmp_path)
    encoded = CanonicalEncoder(artifact, threads=1).encode(TEXTS)
    reference = FloatEncoder(tmp_path)
    for ids, vector in zip(encoded.ids, encoded.pooled.astype(np.float64), strict=True):
        assert reference.vector(ids) @ vector / np.linalg.norm(vector) > 0.9999


@pytest.mark.parametrize("kind", ["bert", "mpnet", "xlm-roberta"])
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_every_architecture_gives_the_vectors_of_the_float_model(small_model, tmp_path, kind, pooling):
    artifact = small_model(7, kind=kind, positions=44).open(tmp_path, pooling)
    encoded = CanonicalEncoder(artifact, threads=1).encode(TEXTS)
    reference = FloatEncoder(tmp_path, pooling)
    for ids, vector in zip(encoded.ids, encoded.pooled.astype(np.float64), strict=True):
        assert reference.vector(ids) @ vector / np.linalg.norm(vector) > 0.9999


@pytest.mark.parametrize("kind", ["bert", "mpnet", "xlm-roberta"])
def test_outliers_of_the_stream_are_not_cut(small_model, tmp_path, kind):
    model = small_model(7, kind=kind, positions=44)
    model.tensors["encoder.layer.0.output.dense.weight"][:4] *= 1000  # beyond 1,024, where a layer norm clamps
    encoded = CanonicalEncoder(model.open(tmp_path), threads=1).encode(TEXTS)
    reference = FloatEncoder(tmp_path)
    for ids, vector in zip(encoded.ids, encoded.pooled.astype(np.float64), strict=True):
        assert reference.vector(ids) @ vector / np.linalg.norm(vector) > 0.9999


def test_buckets_of_relative_positions_are_the_published_ones():
    assert [mpnet_bucket(distance) for distance in range(-400, 401)] == [
        published_bucket(distance) for distance in range(-400, 401)
    ]


def test_prefixes_are_put_before_texts(small_model, tmp_path):
    folder = small_model(8).write(tmp_path)
    spec = ModelSpec("small/random", query_prefix="a b ", document_prefix="c ")
    build_artifact(folder, tmp_path / "model.zenso", spec)
    encoder = CanonicalEncoder(open_artifact(tmp_path / "model.zenso"), threads=1)
    plain = CanonicalEncoder(small_model(8).open(tmp_path / "plain"), threads=1)
    np.testing.assert_array_equal(encoder.encode(["d"]).pooled, plain.encode(["c d"]).pooled)
    asked = encoder.encode(["d"], role=Role.QUERY)
    np.testing.assert_array_equal(asked.pooled, plain.encode(["a b d"]).pooled)


def test_real_vectors_are_those_of_the_float_model(encoder):
    reference = FloatEncoder(models.fetch(models.lookup("all-MiniLM-L6-v2")))
    encoded = encoder.encode(["x", "The quick brown fox", "Return the absolute value of the argument."])
    for ids, vector in zip(encoded.ids, encoded.pooled.astype(np.float64), strict=True):
        assert reference.vector(ids) @ vector / np.linalg.norm(vector) > 0.9999


def test_built_twice_gives_the_same_digest(small_model, tmp_path):
    digests = {
        build_artifact(small_model(5).write(tmp_path / name), tmp_path / name / "out", SPEC)
        for name in ("first", "second")
    }
    assert len(digests) == 1
    assert (tmp_path / "first/out").read_bytes() == (tmp_path / "second/out").read_bytes()
    assert open_artifact(tmp_path / "first/out").digest in digests


def test_real_model_built_here_has_the_digest_of_the_catalogue(tmp_path):
    entry = models.lookup("all-MiniLM-L6-v2")
    digest = build_artifact(models.fetch(entry), tmp_path / "model.zenso", entry.spec)
    assert digest.hex() == entry.artifact_blake3


def test_header_describes_the_model(small_artifact):
    config = small_artifact.config
    assert config["model_id"] == SPEC.model_id
    assert (config["hidden"], config["vocabulary"], config["max_tokens"]) == (64, len(small_artifact.words), 40)
    assert config["pooling"] == "mean"


def test_progress_ends_at_one(small_model, tmp_path):
    shares = []
    build_artifact(small_model().write(tmp_path), tmp_path / "out", SPEC, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "embeddings.word_embeddings.weight",
        "embeddings.LayerNorm.bias",
        "encoder.layer.1.attention.self.key.weight",
        "encoder.layer.0.output.dense.bias",
    ],
)
def test_missing_tensor(small_model, tmp_path, name):
    model = small_model()
    del model.tensors[name]
    refused(model, tmp_path, f"has no tensor '{name}'")


@pytest.mark.parametrize(
    "name",
    ["embeddings.word_embeddings.weight", "encoder.layer.1.intermediate.dense.weight", "embeddings.LayerNorm.weight"],
)
def test_tensor_of_another_shape(small_model, tmp_path, name):
    model = small_model()
    model.tensors[name] = np.concatenate([model.tensors[name]] * 2)
    refused(model, tmp_path, f"tensor '{name}' has shape")


@pytest.mark.parametrize(
    "change", [{"model_type": "roberta"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}]
)
def test_another_kind_of_model(small_model, tmp_path, change):
    model = small_model()
    model.config |= change
    ((key, value),) = change.items()
    refused(model, tmp_path, f"says {key} = '{value}'; the kernel runs")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name",
    [
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        "encoder.layer.0.output.dense.weight",
        "encoder.layer.0.output.dense.bias",
        "encoder.layer.1.output.LayerNorm.weight",
    ],
)
def test_weights_that_are_not_finite(small_model, tmp_path, name, value):
    model = small_model()
    model.tensors[name].flat[3] = value
    refused(model, tmp_path, "the model file is damaged")


@pytest.mark.parametrize("key", ["hidden_size", "layer_norm_eps", "vocab_size", "num_attention_heads"])
def test_configuration_without_a_number(small_model, tmp_path, key):
    model = small_model()
    del model.config[key]
    refused(model, tmp_path, key)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file(small_model, tmp_path, name):
    folder = small_model().write(tmp_path)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"cannot read.*{name}.*fetch the model again"):
        build_artifact(folder, folder / "model.zenso", SPEC)


@pytest.mark.parametrize(
    ("name", "content"), [("config.json", b"{"), ("config.json", b"\xff"), ("config.json", b"[1]")]
)
def test_damaged_configuration(small_model, tmp_path, name, content):
    folder = small_model().write(tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match="cannot read"):
        build_artifact(folder, folder / "model.zenso", SPEC)


@pytest.mark.parametrize("keep", [0, 4, 1000, -1])
def test_truncated_weights(small_model, tmp_path, keep):
    folder = small_model().write(tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:keep])
    with pytest.raises(ModelError, match=r"cannot read the weights .*; fetch the model again"):
        build_artifact(folder, folder / "model.zenso", SPEC)


def test_output_that_cannot_be_written(small_model, tmp_path):
    folder = small_model().write(tmp_path)
    with pytest.raises(StorageError, match="cannot write the model artifact"):
        build_artifact(folder, folder / "config.json" / "model.zenso", SPEC)


def test_heads_that_the_kernel_does_not_run(small_model, tmp_path):
    artifact = small_model(heads=8).open(tmp_path)  # 8 numbers a head; the kernel needs a multiple of 16
    with pytest.raises(ModelError, match="holds a model that this kernel does not run"):
        CanonicalEncoder(artifact, threads=1).encode(["a"])


def test_configuration_of_the_published_model_is_read():
    config = json.loads((models.fetch(models.lookup("all-MiniLM-L6-v2")) / "config.json").read_text())
    assert (config["model_type"], config["hidden_size"], config["num_hidden_layers"]) == ("bert", 384, 6)
