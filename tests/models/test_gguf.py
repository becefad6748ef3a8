import hashlib

import gguf
import pytest

from zenso.errors import InputError, IntegrityError, ModelError
from zenso.models import load_generator
from zenso.models.gguf import read_metadata, verified_gguf


@pytest.fixture
def small(tmp_path):
    """A GGUF file with a key of each kind, and no tensors."""
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("a.string", "é")
    writer.add_uint64("a.number", 2**63)
    writer.add_float32("a.float", 0.5)
    writer.add_bool("a.bool", True)
    writer.add_array("an.array", ["x", "yy"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_int8("last", -3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_metadata_without_the_arrays(small):
    found = read_metadata(small)
    expected = {"a.string": "é", "a.number": 2**63, "a.float": 0.5, "a.bool": True, "last": -3}
    assert {key: found[key] for key in expected} == expected
    assert found["general.architecture"] == "llama"
    assert not {"an.array", "numbers"} & set(found)


def test_what_is_no_gguf_is_refused(small):
    whole = small.read_bytes()
    for content in [b"", b"GG", b"PK\3\4" + whole[4:], b"GGUF\1" + whole[5:], whole[:8] + b"\xff" * 16 + whole[24:]]:
        small.write_bytes(content)
        with pytest.raises(ModelError, match=r"small\.gguf is not a GGUF file of version 2 or 3, or breaks off"):
            read_metadata(small)
    for length in range(24, len(whole)):
        small.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="breaks off"):
            read_metadata(small)


def test_a_file_is_held_to_the_hash_given_or_beside_it(small):
    digest = digest_of(small)
    assert verified_gguf(small, digest.upper()) == verified_gguf(str(small), digest) == small
    beside = small.with_name("small.gguf.sha256")
    beside.write_text(f"{digest}  small.gguf\n")
    assert verified_gguf(small) == small
    changed = bytearray(small.read_bytes())
    changed[-1] ^= 1
    small.write_bytes(changed)
    for given in (None, digest):
        with pytest.raises(
            IntegrityError, match=rf"wrong SHA-256.*expected {digest}, found {digest_of(small)}; not loaded"
        ):
            load_generator(small, sha256=given)


def test_a_file_of_which_nobody_says_the_hash_is_not_loaded(small):
    with pytest.raises(IntegrityError, match=rf"its SHA-256 is {digest_of(small)}.*sha256sum small.gguf >"):
        load_generator(small)


@pytest.mark.parametrize("content", ["", "abc  small.gguf", "\xff" * 64])
def test_a_hash_that_is_none(small, content):
    with pytest.raises(InputError, match="sha256 is not a SHA-256 of 64"):
        verified_gguf(small, content)
    small.with_name("small.gguf.sha256").write_text(content)
    with pytest.raises((InputError, ModelError), match=r"small\.gguf\.sha256.* SHA-256"):
        verified_gguf(small)


def test_what_is_not_there_or_not_generative(small, tmp_path):
    with pytest.raises(ModelError, match=r"missing\.gguf cannot be read: No such file"):
        verified_gguf(tmp_path / "missing.gguf", "0" * 64)
    with pytest.raises(ModelError, match=r"all-MiniLM-L6-v2 has no GGUF file.*gemma-3-270m"):
        load_generator("all-MiniLM-L6-v2")
    with pytest.raises(ModelError, match="unknown model 'gemma'"):
        load_generator("gemma")
    with pytest.raises(InputError, match="is in the catalogue"):
        load_generator("gemma-3-270m", sha256="0" * 64)
    with pytest.raises(ModelError, match="does not say how many tokens of context"):
        load_generator(small, sha256=digest_of(small))


def test_a_model_that_llama_cpp_cannot_load(tmp_path):
    path = tmp_path / "empty.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"llama\.cpp cannot load .*empty\.gguf with 512 tokens of context"):
        load_generator(path, sha256=digest_of(path))
