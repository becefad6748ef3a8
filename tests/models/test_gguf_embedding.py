import hashlib

import numpy as np
import pytest

from tests.models.minilm_gguf import write_minilm
from zenso.canonical import CanonicalEncoder
from zenso.errors import InputError, IntegrityError
from zenso.models import fetch, load_artifact, load_gguf_embedder

pytestmark = pytest.mark.usefixtures("real_cache")
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Tomatoes want sun and a lot of water.",
    "def f(x): return x**2  # C++ != C#",
    "Ünïcödé, naïve café",
    "日本語のテキスト",
    "Unaffordability! 3.14159 (2026-01-01)",
]


@pytest.fixture(scope="module")
def canonical():
    """The canonical vectors of the texts, of length 1."""
    pooled = CanonicalEncoder(load_artifact("all-MiniLM-L6-v2")).encode(TEXTS).pooled.astype(np.float64)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """MiniLM as a GGUF file of a kind, with its hash beside it; each is written once."""
    folder, done = tmp_path_factory.mktemp("gguf"), {}

    def write(quantization):
        if quantization not in done:
            path = folder / f"minilm-{quantization}.gguf"
            write_minilm(fetch("all-MiniLM-L6-v2"), path, quantization)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
            done[quantization] = path
        return done[quantization]

    return write


@pytest.mark.parametrize(("quantization", "least"), [("F16", 0.99997), ("Q8_0", 0.9985)])
def test_minilm_from_gguf_agrees_with_the_canonical_vectors(written, canonical, quantization, least):
    with load_gguf_embedder(written(quantization), threads=1) as embedder:
        vectors = embedder.embed(TEXTS)
        assert (embedder.dimensions, embedder.context) == (384, 512)
        assert embedder.embed([]).shape == (0, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.min(np.sum(vectors * canonical, axis=1)) > least


def test_what_cannot_be_embedded(written):
    embedder = load_gguf_embedder(written("Q8_0"), threads=1, context=64, pooling="first")
    with pytest.raises(
        InputError, match=r"among 0 to 1 cannot be embedded with a context of 64 tokens.*\(102 tokens\)"
    ):
        embedder.embed(["short", "word " * 100])
    for text in ("", " \n", None):
        with pytest.raises(InputError, match=r"text 1 is .*not empty"):
            embedder.embed(["short", text])
    with pytest.raises(InputError, match="a list of texts"):
        embedder.embed("short")
    embedder.close()
    with pytest.raises(InputError, match="is closed"):
        embedder.embed(["short"])


def test_pooling_may_be_chosen(written, canonical):
    with load_gguf_embedder(written("F16"), threads=1, pooling="first") as embedder:
        assert np.max(np.sum(embedder.embed(TEXTS[:1]) * canonical[:1], axis=1)) < 0.99
    with pytest.raises(InputError, match="pooling is 'max'; it must be one of mean, first, last"):
        load_gguf_embedder(written("F16"), pooling="max")


def test_settings_and_files_are_checked(written, tmp_path):
    with pytest.raises(InputError, match="context 1024 is more than the 512 tokens"):
        load_gguf_embedder(written("F16"), context=1024)
    whole = bytearray(written("Q8_0").read_bytes())
    digest = hashlib.sha256(whole).hexdigest()
    whole[len(whole) // 2] ^= 1
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(whole)
    with pytest.raises(IntegrityError, match=r"wrong SHA-256 of .*changed\.gguf"):
        load_gguf_embedder(changed, sha256=digest)
