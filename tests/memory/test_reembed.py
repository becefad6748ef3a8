"""A change of model: embedded aside, put in place at once, never a mixture."""

import sqlite3
import threading
from contextlib import closing

import pytest

from zenso.errors import ModelError, StorageError
from zenso.memory import Memory, reembed
from zenso.memory.database import FILE_NAME
from zenso.memory.verify import verify_memory

TEXTS = [f"document number {n}" for n in range(40)]

pytestmark = pytest.mark.usefixtures("small_segments")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(reembed, "_BATCH_DOCUMENTS", 8)
    monkeypatch.setattr(reembed, "_LAST_DOCUMENTS", 2)


@pytest.fixture
def filled(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add(TEXTS, ids=TEXTS, metadata=[{"n": n} for n in range(40)])
        memory.delete(TEXTS[5])
    return folder


class StopError(Exception):
    """Stands for whatever ends a run on its way."""


def interrupt(after):
    def progress(done, total):
        if done >= after:
            raise StopError

    return progress


def edit(folder, statement):
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        connection.execute(statement)


def ranking(memory, query="number 7"):
    return [(hit.id, hit.score) for hit in memory.search(query, k=99)]


def test_from_one_model_to_another(filled, encoder, other_encoder, tmp_path):
    assert encoder.provenance.differences(other_encoder.provenance.to_json()) == ["slots"]
    progress = []
    with Memory.open(filled, encoder=other_encoder) as memory:
        for use in (lambda: memory.search("number"), lambda: memory.add("more")):
            with pytest.raises(ModelError, match=f"zenso reembed {filled}"):
                use()
        assert memory.reembed(on_progress=lambda *event: progress.append(event)) == 39
        after = ranking(memory)
        assert memory.reembed() == 0
        memory.add("one more", ids="new")
        assert len(memory.search("more", k=99, where={"n": {"$lt": 10}})) == 9
        memory.delete("new")
    assert progress[0] == (0, 39)
    assert progress[-1] == (39, 39)
    with Memory.open(tmp_path / "fresh", encoder=other_encoder) as fresh:
        fresh.add([text for text in TEXTS if text != TEXTS[5]], ids=[text for text in TEXTS if text != TEXTS[5]])
        assert after == ranking(fresh)
    assert verify_memory(filled, other_encoder).ok
    with Memory.open(filled, encoder=encoder) as old, pytest.raises(ModelError):
        old.search("number")


def test_a_view_of_the_old_model_is_not_used_with_the_new_one(filled, encoder, other_encoder):
    with Memory.open(filled, encoder=other_encoder) as new, Memory.open(filled, encoder=encoder) as old:
        before = ranking(old)
        new.reembed()
        after = ranking(new)
        assert after != before
        old.reembed()
        assert ranking(old) == before
        with pytest.raises(ModelError):
            new.search("number")


def test_the_old_model_goes_on_until_the_end(filled, encoder, other_encoder):
    """What is added, deleted and replaced meanwhile is embedded by the new model too."""
    with Memory.open(filled, encoder=encoder) as old, Memory.open(filled, encoder=other_encoder) as new:
        seen = []

        def meanwhile(done, total):
            if len(seen) < 4:
                old.add(f"added meanwhile {done}", ids=f"new {len(seen)}")
                old.add("another text", ids=TEXTS[len(seen)])
                old.delete(TEXTS[30 + len(seen)])
                seen.append(len(old.search("number", k=99)))

        new.reembed(on_progress=meanwhile)
        assert seen == [39, 39, 39, 39]
        assert len(ranking(new)) == len(new) == 39
        assert {f"new {n}" for n in range(4)} <= set(new.ids())
    assert verify_memory(filled, other_encoder).ok


def test_an_interrupted_run_is_gone_on_with(filled, encoder, other_encoder):
    with Memory.open(filled, encoder=encoder) as old:
        before = ranking(old)
        with Memory.open(filled, encoder=other_encoder) as new:
            with pytest.raises(StopError):
                new.reembed(on_progress=interrupt(16))
            assert ranking(old) == before
            other_encoder.encoded.clear()
            progress = []
            assert new.reembed(on_progress=lambda *event: progress.append(event)) == 39
            assert progress[0] == (16, 39)
            assert len(other_encoder.encoded) == 39 - 16
    assert verify_memory(filled, other_encoder).ok


def test_what_was_put_aside_for_another_model_is_not_used(filled, encoder, other_encoder):
    with Memory.open(filled, encoder=other_encoder) as new, pytest.raises(StopError):
        new.reembed(on_progress=interrupt(16))
    edit(filled, "UPDATE provenance SET json = replace(json, 'slots', 'former'), digest = x'00' WHERE id = 2")
    with Memory.open(filled, encoder=other_encoder) as new:
        other_encoder.encoded.clear()
        assert new.reembed() == 39
        assert len(other_encoder.encoded) == 39
    assert verify_memory(filled, other_encoder).ok


def test_a_document_without_embedding_gets_one(filled, encoder):
    edit(filled, "DELETE FROM embeddings WHERE seq IN (2, 3, 40)")
    edit(filled, "UPDATE state SET epoch = 1")
    edit(filled, "DELETE FROM segments")
    with Memory.open(filled, encoder=encoder) as memory:
        assert len(memory.search("number", k=99)) == 36
        memory.add(TEXTS[1], ids=TEXTS[1])  # adding it again is a remedy too
        assert len(memory.search("number", k=99)) == 37
        encoder.encoded.clear()
        assert memory.reembed() == 2
        assert len(encoder.encoded) == 2
        assert len(memory.search("number", k=99)) == 39
    assert verify_memory(filled, encoder).ok


def test_a_text_changed_behind_our_back_is_still_found_out(filled, other_encoder):
    edit(filled, "UPDATE texts SET text = 'quite another' WHERE seq = 9")
    with Memory.open(filled, encoder=other_encoder) as memory:
        memory.reembed()
    assert [mismatch.cause for mismatch in verify_memory(filled, other_encoder).mismatches] == ["text changed"]


def test_a_search_sees_one_model_or_the_other(filled, encoder, other_encoder):
    with Memory.open(filled, encoder=encoder) as old, Memory.open(filled, encoder=other_encoder) as new:
        rankings = {False: ranking(old)}
        new.reembed()
        rankings[True] = ranking(new)
        old.reembed()
        seen, errors, stop = set(), [], threading.Event()

        def search(memory, *, changed):
            try:
                while not stop.is_set():
                    try:
                        assert ranking(memory) == rankings[changed]
                        seen.add(changed)
                    except ModelError:
                        continue
            except BaseException as error:  # noqa: BLE001 - reported by the test
                errors.append(error)

        threads = [
            threading.Thread(target=search, args=(memory,), kwargs={"changed": changed})
            for memory, changed in ((old, False), (new, True))
        ]
        for thread in threads:
            thread.start()
        for _ in range(4):
            assert new.reembed() == 39
            assert old.reembed() == 39
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert seen


def test_a_read_only_memory_is_not_reembedded(filled, other_encoder):
    with (
        Memory.open(filled, encoder=other_encoder, read_only=True) as memory,
        pytest.raises(StorageError, match="read_only"),
    ):
        memory.reembed()
