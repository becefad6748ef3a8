import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from blake3 import blake3

from zenso import models
from zenso.canonical import kernel_digest, kernel_version
from zenso.errors import InputError, ModelError
from zenso.zen import ZenEncoder, load_encoder
from zenso.zen import encoder as encoder_module
from zenso.zen.slot_artifact import DATA

FOX = "The quick brown fox jumps over the lazy dog."
FOX_VECTOR = [1443, 1931, 1585, 2539, 867, -1235, -81, -1960]
FOX_CODE = "260de5b17b6a271a78ee844c16b7168220ecde26fe77044faaf0ea4975300614"


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("vectors", "codes", "token_counts")
    )


def test_code_of_a_known_text(encoder):
    embeddings = encoder.encode_documents([FOX])
    assert embeddings.vectors[0, :8].tolist() == FOX_VECTOR
    assert blake3(embeddings.codes.tobytes()).hexdigest() == FOX_CODE
    assert embeddings.token_counts.tolist() == [12]


def test_shapes_and_types(encoder, texts):
    embeddings = encoder.encode_documents(texts)
    assert (embeddings.vectors.shape, embeddings.vectors.dtype) == ((len(texts), 384), np.int16)
    assert (embeddings.codes.shape, embeddings.codes.dtype) == ((len(texts), 964), np.uint8)
    assert (embeddings.token_counts.shape, embeddings.token_counts.dtype) == ((len(texts),), np.int32)
    assert embeddings.token_counts[0] == 3
    assert embeddings.token_counts.max() == encoder.max_tokens == 256


def test_same_bits_alone_and_in_any_order(encoder, texts):
    together = encoder.encode_documents(texts)
    for row, text in enumerate(texts):
        alone = encoder.encode_documents([text])
        assert np.array_equal(alone.codes[0], together.codes[row])
        assert np.array_equal(alone.vectors[0], together.vectors[row])
    order = np.random.default_rng(1).permutation(len(texts))
    shuffled = encoder.encode_documents([texts[row] for row in order])
    assert np.array_equal(shuffled.codes, together.codes[order])


def test_same_bits_in_parts(encoder, texts, monkeypatch):
    together = encoder.encode_documents(texts)
    monkeypatch.setattr(encoder_module, "_AT_ONCE", 3)
    done = []
    assert same(encoder.encode_documents(texts, done.append), together)
    assert sum(done) == len(texts)


def test_same_bits_from_several_callers(encoder, texts):
    expected = encoder.encode_documents(texts)
    with ThreadPoolExecutor(4) as pool:
        assert all(same(found, expected) for found in pool.map(lambda _: encoder.encode_documents(texts), range(6)))


def test_nothing_to_encode(encoder):
    embeddings = encoder.encode_documents([])
    assert (embeddings.vectors.shape, embeddings.vectors.dtype) == ((0, 384), np.int16)
    assert (embeddings.codes.shape, embeddings.codes.dtype) == ((0, 964), np.uint8)
    assert (embeddings.token_counts.shape, embeddings.token_counts.dtype) == ((0,), np.int32)
    assert encoder.encode_vectors([]).shape == (0, 384)
    assert encoder.encode_tokens([]) == []


@pytest.mark.parametrize("bad", ["", " \t\n", "\u3000"])
def test_empty_texts_are_named(encoder, bad):
    for encode in (encoder.encode_documents, encoder.encode_vectors, encoder.encode_tokens):
        with pytest.raises(InputError, match="text 1 is empty"):
            encode(["fine", bad])
    with pytest.raises(InputError, match="empty"):
        encoder.encode_query(bad)


@pytest.mark.parametrize(("bad", "named"), [(None, "NoneType"), (b"bytes", "bytes"), (3, "int")])
def test_other_types_are_named(encoder, bad, named):
    for encode in (encoder.encode_documents, encoder.encode_vectors, encoder.encode_tokens):
        with pytest.raises(InputError, match=f"text 1 is {named}"):
            encode(["fine", bad])
    with pytest.raises(InputError, match=named):
        encoder.encode_query(bad)


def test_one_string_instead_of_a_list(encoder):
    for encode in (encoder.encode_documents, encoder.encode_vectors, encoder.encode_tokens):
        with pytest.raises(InputError, match="list of texts"):
            encode("a single text")


@pytest.mark.parametrize("method", ["encode_documents", "encode_vectors", "encode_tokens"])
def test_progress_counts_every_text(encoder, texts, method):
    done = []
    getattr(encoder, method)(texts * 2, done.append)
    assert sum(done) == 2 * len(texts)
    assert min(done) > 0


def test_token_states(encoder, texts):
    embeddings = encoder.encode_documents(texts)
    for states, vector, count in zip(
        encoder.encode_tokens(texts), embeddings.vectors, embeddings.token_counts, strict=True
    ):
        assert np.array_equal(states.vector, vector)
        assert states.tokens.shape == (count, 384)
        assert states.tokens.dtype == np.int16
        assert states.ids.shape == (count,)
        lengths = np.sqrt((states.tokens.astype(np.int64) ** 2).sum(axis=1))
        assert np.abs(lengths - 32767).max() < np.sqrt(384)


def test_splitting_tokenizer_counts_all_of_a_long_text(encoder):
    tokenizer = encoder.splitting_tokenizer
    assert len(tokenizer.encode("word " * 5000).ids) == 5002
    assert encoder.encode_documents(["word " * 5000]).token_counts.tolist() == [256]  # the other one still cuts
    assert encoder.splitting_tokenizer is tokenizer


def test_meaning_orders_neighbours(encoder):
    dog, puppy, cat, airplane = encoder.encode_vectors(["dog", "puppy", "cat", "airplane"]).astype(np.int64)
    assert dog @ puppy > dog @ cat > dog @ airplane


def test_provenance_names_everything(encoder):
    provenance = encoder.provenance
    stored = json.loads(provenance.to_json())
    assert stored["code"] == "slots/2"
    assert stored["slots"] == encoder._artifact.digest.hex()
    assert stored["model"]["model_id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert stored["model"]["kernel"] == kernel_digest().hex()
    assert stored["model"]["version"] == kernel_version()
    assert json.dumps(stored, sort_keys=True, separators=(",", ":")) == provenance.to_json()
    assert provenance.digest == blake3(provenance.to_json().encode()).digest()
    assert provenance.differences(provenance.to_json()) == []


def test_provenance_differences(encoder):
    now = encoder.provenance
    older = replace(now, code="slots/1", model=replace(now.model, version=0, weights="00", kernel="11"))
    assert now.differences(older.to_json()) == ["code", "model.version", "model.weights"]
    assert older.digest != now.digest


def test_another_build_of_the_kernel_is_no_difference(encoder):
    now = encoder.provenance
    assert now.differences(replace(now, model=replace(now.model, kernel="00")).to_json()) == []


def test_keys_that_only_one_side_has_are_differences(encoder):
    tree = json.loads(encoder.provenance.to_json())
    del tree["slots"]
    tree["model"]["added"] = 1
    assert encoder.provenance.differences(json.dumps(tree)) == ["model.added", "slots"]


def test_load_encoder_gives_the_same_object(encoder):
    assert load_encoder() is encoder
    assert load_encoder("sentence-transformers/all-MiniLM-L6-v2") is encoder
    assert load_encoder(threads=1) is not encoder


def test_load_encoder_from_many_threads_loads_once(encoder, monkeypatch):
    loads = []
    artifact = encoder._encoder.artifact

    def load_artifact(*arguments, **options):
        loads.append(arguments)
        return artifact

    monkeypatch.setattr(models, "load_artifact", load_artifact)
    monkeypatch.setattr(encoder_module, "_loaded", {})
    barrier = threading.Barrier(8)

    def load(_):
        barrier.wait()
        return load_encoder()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(load, range(8)))
    assert len(loads) == 1
    assert len(set(map(id, found))) == 1
    assert isinstance(found[0], ZenEncoder)


def test_unknown_model():
    with pytest.raises(ModelError, match="no-such-model"):
        load_encoder("no-such-model")


def test_threads_below_one():
    with pytest.raises(InputError, match="threads is 0"):
        load_encoder(threads=0)


def test_slots_of_ones_own(tmp_path):
    shipped = (DATA / "all-MiniLM-L6-v2.safetensors").read_bytes()
    tensors = safetensors.numpy.load(shipped)
    safetensors.numpy.save_file(tensors | {"share": np.array([0], np.int32)}, tmp_path / "other.safetensors")
    other = load_encoder(slots=tmp_path / "other.safetensors")
    assert load_encoder(slots=tmp_path / "other.safetensors") is other
    assert other.provenance.differences(load_encoder().provenance.to_json()) == ["slots"]
    codes, shipped_codes = (one.encode_documents([FOX]).codes for one in (other, load_encoder()))
    assert np.array_equal(codes[:, 4:52], shipped_codes[:, 4:52])
    assert not np.array_equal(codes, shipped_codes)


def test_slots_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_encoder(slots=tmp_path / "missing.safetensors")
    tensors = safetensors.numpy.load_file(DATA / "all-MiniLM-L6-v2.safetensors")
    tensors["frequencies"] = tensors["frequencies"][:100]
    safetensors.numpy.save_file(tensors, tmp_path / "short.safetensors")
    with pytest.raises(InputError, match="of a model with 100 tokens, this one has 30,522"):
        load_encoder(slots=tmp_path / "short.safetensors")
