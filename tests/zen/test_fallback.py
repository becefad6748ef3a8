import shutil
import warnings

import numpy as np
import pytest

import zenso
from tests.zen.test_aligned_encoder import identity
from zenso.errors import IntegrityError, ModelError
from zenso.zen import AlignedEncoder, FallbackWarning, aligner, encode_with_fallback, fallback, load_with_fallback

MODEL = "all-MiniLM-L6-v2"
FOX = "The quick brown fox jumps over the lazy dog."


@pytest.fixture
def stand_in(encoder, tmp_path, monkeypatch):
    """The model stands in for itself, through an aligner that changes nothing but the last digit."""
    (tmp_path / MODEL).mkdir()
    identity(encoder).save(tmp_path / MODEL / f"{MODEL}.safetensors")
    monkeypatch.setattr(aligner, "DATA", tmp_path)
    monkeypatch.setattr(fallback, "_fallen_back", {})
    return tmp_path


@pytest.fixture(params=[ModelError, IntegrityError])
def broken(request, monkeypatch):
    def load_encoder(*arguments, **options):
        raise request.param("no source has it")

    monkeypatch.setattr(fallback, "load_encoder", load_encoder)


def test_the_native_model_comes_first(encoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        query, documents = encode_with_fallback(FOX), encode_with_fallback([FOX, "another"])
    assert np.array_equal(query.embedded.tokens, encoder.encode_query(FOX).tokens)
    assert np.array_equal(documents.embedded.codes, encoder.encode_documents([FOX, "another"]).codes)
    for result in (query, documents):
        assert result.model == f"sentence-transformers/{MODEL}"
        assert result.provenance == encoder.provenance
        assert result.provenance.native
    assert load_with_fallback() is encoder


def test_another_model_stands_in_with_one_warning(encoder, stand_in, broken):
    message = rf"^{MODEL} cannot be loaded, {MODEL} stands in .*no source has it"
    with pytest.warns(FallbackWarning, match=message) as told:
        first = encode_with_fallback(FOX, fallback=MODEL)
    assert len(told) == 1
    second = encode_with_fallback([FOX], fallback=MODEL)  # a second warning would be an error
    for result in (first, second):
        assert not result.provenance.native
        assert result.provenance.differences(encoder.provenance.to_json())
        assert result.provenance.searched.differences(encoder.provenance.to_json()) == []
    assert np.abs(first.embedded.vector.astype(int) - encoder.encode_query(FOX).vector).max() <= 1


def test_a_memory_goes_on_being_searched(encoder, stand_in, broken, tmp_path):
    with zenso.open(tmp_path / "notes", encoder=encoder) as memory:
        memory.add([FOX, "Bread is made of flour, water and yeast."])
    with zenso.open(tmp_path / "notes", encoder=lambda: load_with_fallback(fallback=MODEL)) as memory:
        with pytest.warns(FallbackWarning):
            assert isinstance(memory.encoder, AlignedEncoder)
        assert memory.search("which animal jumps?")[0].text == FOX


def test_neither_can_be_loaded(stand_in, broken):
    shutil.rmtree(stand_in / MODEL)
    with pytest.raises(ModelError, match=rf"neither {MODEL} \(no source has it\) nor {MODEL} \(no aligner"):
        encode_with_fallback(FOX, fallback=MODEL)


def test_unknown_names_are_mistakes_and_no_reason_to_fall_back():
    for names in ({"primary": "no-such-model"}, {"fallback": "no-such-model"}):
        with pytest.raises(ModelError, match="unknown model 'no-such-model'"):
            encode_with_fallback(FOX, **names)
