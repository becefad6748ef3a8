import errno
import json
import resource

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zenso.canonical import open_artifact
from zenso.canonical.artifact import FORMAT_VERSION, MAGIC, SECTIONS, write_artifact
from zenso.errors import IntegrityError, StorageError

HIDDEN, VOCABULARY = 16, 300
CONFIG = {
    "hidden": HIDDEN,
    "vocabulary": VOCABULARY,
    "max_tokens": 32,
    "model_id": "some/model",
    "pooling": "mean",
    "query_prefix": "",
    "document_prefix": "",
    "weights_blake3": "00" * 32,
    "tokenizer_blake3": "11" * 32,
}


def contents():
    random = np.random.default_rng(0)
    return {
        "kernel": random.bytes(5000),
        "words": random.bytes(2 * HIDDEN * VOCABULARY),
        "shifts": random.bytes(VOCABULARY),
        "tokenizer": b'{"model": {}}',
    }


@pytest.fixture
def path(tmp_path):
    write_artifact(tmp_path / "model.zenso", CONFIG, contents())
    return tmp_path / "model.zenso"


def parse(data):
    """Header and offset of the first section."""
    length = int.from_bytes(data[12:16], "little")
    return json.loads(data[16 : 16 + length]), -(-(16 + length) // 4096) * 4096


def with_header(data, header):
    """Replace the header and keep the sections."""
    _, base = parse(data)
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    prefix = MAGIC + FORMAT_VERSION.to_bytes(4, "little") + len(encoded).to_bytes(4, "little") + encoded
    return prefix + bytes(-len(prefix) % 4096) + data[base:]


def all_sections(entry):
    return {name: dict(entry) for name in SECTIONS}


def refused(path, match, **options):
    with pytest.raises(IntegrityError, match=match) as caught:
        open_artifact(path, **options)
    assert str(path) in str(caught.value)
    assert "delete it and it is built again" in str(caught.value)


def test_round_trip(path):
    digest = blake3(path.read_bytes()).digest()
    artifact = open_artifact(path, expected_digest=digest)
    written = contents()
    assert artifact.path == path
    assert artifact.digest == digest
    assert artifact.config == CONFIG
    assert artifact.hidden == HIDDEN
    assert artifact.kernel.tobytes() == written["kernel"]
    assert artifact.words.shape == (VOCABULARY, HIDDEN)
    assert artifact.words.astype("<i2").tobytes() == written["words"]
    assert artifact.shifts.tobytes() == written["shifts"]
    assert artifact.tokenizer == written["tokenizer"]


def test_writing_returns_the_digest_of_the_file_and_repeats(tmp_path):
    first = write_artifact(tmp_path / "a", CONFIG, contents())
    second = write_artifact(tmp_path / "new" / "b", dict(reversed(CONFIG.items())), contents())
    assert first == second == blake3((tmp_path / "a").read_bytes()).digest()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["a"]


def test_sections_lie_at_page_boundaries(path):
    header, base = parse(path.read_bytes())
    assert all((base + entry["offset"]) % 4096 == 0 for entry in header["sections"].values())
    assert tuple(sorted(header["sections"], key=lambda name: header["sections"][name]["offset"])) == SECTIONS


def test_arrays_cannot_be_written_to(path):
    artifact = open_artifact(path)
    for array in (artifact.kernel, artifact.words, artifact.shifts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "is empty")


def test_missing_file(tmp_path):
    with pytest.raises(StorageError, match=r"cannot open the model artifact .*No such file"):
        open_artifact(tmp_path / "none")


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(StorageError, match="cannot open the model artifact"):
        open_artifact(tmp_path)


def test_wrong_magic(path):
    data = path.read_bytes()
    path.write_bytes(b"SQLite f" + data[8:])
    refused(path, "is not a Zenso model artifact")


def test_other_format_version(path):
    data = path.read_bytes()
    path.write_bytes(data[:8] + (2).to_bytes(4, "little") + data[12:])
    refused(path, "has format version 2, this Zenso reads 1")


@pytest.mark.parametrize("length", [0xFFFFFFFF, 1 << 31, 1 << 20, 200_000])
def test_huge_header_length(path, length):
    data = path.read_bytes()
    path.write_bytes(data[:12] + length.to_bytes(4, "little") + data[16:])
    refused(path, f"claims a header of {length} bytes")


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_bit_in_a_section(path, section, place):
    data = bytearray(path.read_bytes())
    header, base = parse(data)
    entry = header["sections"][section]
    data[base + entry["offset"] + round(place * (entry["length"] - 1))] ^= 1
    path.write_bytes(data)
    refused(path, f"has a section '{section}' that does not match its digest")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_found_by_the_digest_of_the_file(path, data):
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    other = path.with_name("damaged")
    other.write_bytes(damaged)
    refused(other, "has digest", expected_digest=blake3(whole).digest())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_never_gives_another_error_without_an_expected_digest(path, data):
    damaged = bytearray(path.read_bytes())
    _, base = parse(damaged)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, base - 1))] = data.draw(st.integers(0, 255))
    other = path.with_name("damaged")
    other.write_bytes(damaged)
    try:
        open_artifact(other)
    except IntegrityError:
        return


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_truncated_file(path, data):
    whole = path.read_bytes()
    header, base = parse(whole)
    end = base + header["sections"]["tokenizer"]["offset"] + header["sections"]["tokenizer"]["length"]
    other = path.with_name("truncated")
    other.write_bytes(whole[: data.draw(st.integers(1, end - 1))])
    refused(other, "is truncated|is not a Zenso model artifact|claims a header")


def test_wrong_digest(path):
    refused(path, f"expected {'11' * 32}", expected_digest=b"\x11" * 32)


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        pytest.param(b"[" * 100_000, id="deep"),
        {"config": {}, "sections": {}},
        {"config": [], "sections": all_sections({})},
        {"config": {}, "sections": list(SECTIONS)},
        {"config": {}, "sections": dict.fromkeys(SECTIONS)},
        {"config": {}, "sections": all_sections({})},
        {"config": {}, "sections": all_sections({"offset": 0, "length": "x", "blake3": ""})},
        {"config": {}, "sections": all_sections({"offset": float("inf"), "length": 0, "blake3": ""})},
        {"config": {}, "sections": all_sections({"offset": -8192, "length": 8, "blake3": ""})},
        {"config": {}, "sections": all_sections({"offset": 0, "length": -1, "blake3": ""})},
        {"config": {}, "sections": all_sections({"offset": 0, "length": 1 << 60, "blake3": ""})},
    ],
)
def test_malformed_header(path, header):
    path.write_bytes(with_header(path.read_bytes(), header))
    refused(path, "model artifact")


def with_config(path, changes):
    data = path.read_bytes()
    header, _ = parse(data)
    config = {name: value for name, value in {**CONFIG, **changes}.items() if value is not ...}
    path.write_bytes(with_header(data, {**header, "config": config}))


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": HIDDEN + 1},
        {"hidden": HIDDEN * 2, "vocabulary": VOCABULARY // 2},
        {"vocabulary": VOCABULARY + 1},
    ],
)
def test_tables_of_another_shape(path, changes):
    with_config(path, changes)
    refused(path, "has tables of the wrong shape")


@pytest.mark.parametrize("name", ["hidden", "vocabulary", "max_tokens"])
@pytest.mark.parametrize("value", ["many", float("inf"), -1, 0, None, True, 16.0, 1 << 40, [16], ...])
def test_a_number_that_no_model_has(path, name, value):
    with_config(path, {name: value})
    refused(path, f"has {name} = ")


@pytest.mark.parametrize("name", sorted(name for name, value in CONFIG.items() if isinstance(value, str)))
@pytest.mark.parametrize("value", [7, None, "x" * 1001, ["x"], "\ud800", ...])
def test_a_text_that_no_model_has(path, name, value):
    with_config(path, {name: value})
    refused(path, f"has {name} = ")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write the model artifact .*; free space or set ZENSO_CACHE"):
        write_artifact(tmp_path / "file" / "model.zenso", CONFIG, contents())


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    target = tmp_path / "model.zenso"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        with pytest.raises(StorageError, match="cannot write the model artifact"):
            write_artifact(target, CONFIG, contents())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_what_was_there(path, monkeypatch):
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zenso.canonical.artifact.os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_artifact(path, {**CONFIG, "model_id": "new/model"}, contents())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_half_written_file_is_never_seen(tmp_path, monkeypatch):
    target = tmp_path / "model.zenso"
    seen = []

    def look(_):
        seen.append(target.exists())

    monkeypatch.setattr("zenso.canonical.artifact.os.fsync", look)
    write_artifact(target, CONFIG, contents())
    assert seen == [False]  # all is written, and still nothing lies under the name
    open_artifact(target)
