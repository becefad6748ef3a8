import dataclasses
import json

from blake3 import blake3

from zenso.canonical import ModelProvenance, kernel_bytes, kernel_digest, model_hash

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
MODEL_HASH = "e9c4df8eed51bfd601440384547ab856d91f32e6c99de82db0b55a8fad16ae84"


def test_model_hash_is_that_of_the_lower_case_id():
    assert model_hash(MODEL_ID).hex() == MODEL_HASH
    assert model_hash(MODEL_ID.upper()).hex() == MODEL_HASH


def test_provenance_names_everything_the_bits_depend_on(artifact, encoder):
    provenance = encoder.provenance
    assert provenance == ModelProvenance.of(artifact)
    assert dataclasses.asdict(provenance) == {
        "model_id": MODEL_ID,
        "model_hash": MODEL_HASH,
        "weights": artifact.config["weights_blake3"],
        "tokenizer": blake3(artifact.tokenizer).hexdigest(),
        "artifact": blake3(artifact.path.read_bytes()).hexdigest(),
        "kernel": blake3(kernel_bytes()).hexdigest(),
        "version": 1,
    }


def test_json_is_canonical(encoder):
    text = encoder.provenance.to_json()
    assert text == encoder.provenance.to_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert ModelProvenance(**json.loads(text)) == encoder.provenance
    assert encoder.provenance.digest == blake3(text.encode()).digest()


def test_another_model_has_another_digest(encoder, small_artifact):
    other = ModelProvenance.of(small_artifact)
    assert other.digest != encoder.provenance.digest
    assert other.kernel == encoder.provenance.kernel == kernel_digest().hex()


def test_json_of_fixed_values_is_fixed():
    provenance = ModelProvenance("a/b", "00", "11", "22", "33", "44", 1)
    assert provenance.to_json() == (
        '{"artifact":"33","kernel":"44","model_hash":"00","model_id":"a/b","tokenizer":"22","version":1,"weights":"11"}'
    )
