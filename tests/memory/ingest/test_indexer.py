import json
import os
import sys
import time

import pytest

from zenso.errors import InputError
from zenso.memory import Memory, SourceUpdate
from zenso.memory.ingest import batches, index_paths, index_standard_library, indexer, library


@pytest.fixture
def files(tmp_path):
    """A folder to index; its files are old, so that size and time are trusted."""
    folder = tmp_path / "files"
    folder.mkdir()

    def write(name, content, *, age=60):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        moment = time.time() - age
        os.utime(path, (moment, moment))
        return path

    write.folder = folder
    return write


def counts(report):
    return (report.added, report.updated, report.unchanged, report.removed)


def texts(memory):
    return sorted(document.text for document in memory)


def test_only_what_changed_is_done_again(memory, encoder, files, monkeypatch):
    files("a.txt", "Bread needs flour.")
    files("sub/b.md", "# Dogs\n\nDogs bark at night.")
    files("c.txt", "The sea is salty.")
    files("empty.txt", "")
    report = index_paths(memory, [files.folder])
    assert counts(report) == (4, 0, 0, 0)
    assert report.chunks == len(memory) == 3
    encoder.encoded.clear()
    with monkeypatch.context() as patch:
        # What has the same size and time is not even read.
        patch.setattr(indexer, "blake3", None)
        assert counts(index_paths(memory, [files.folder])) == (0, 0, 4, 0)
    files("c.txt", "The sea is salty.", age=30)  # touched, not changed
    files("a.txt", "Bread needs yeast.")
    (files.folder / "sub" / "b.md").unlink()
    report = index_paths(memory, [files.folder])
    assert counts(report) == (0, 1, 2, 1)
    assert encoder.encoded == ["Bread needs yeast."]
    assert texts(memory) == ["Bread needs yeast.", "The sea is salty."]


def test_a_change_that_leaves_size_and_time_is_seen_in_a_new_file(memory, files):
    path = files("a.txt", "one", age=0)
    stat = path.stat()
    index_paths(memory, [path])
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert counts(index_paths(memory, [path])) == (0, 1, 0, 0)
    assert texts(memory) == ["two"]


def test_other_settings_cut_anew(memory, files):
    files("a.txt", "First sentence of the file. Second sentence of the file. Third sentence of the file.")
    index_paths(memory, [files.folder])
    assert counts(index_paths(memory, [files.folder], max_tokens=10, overlap=0)) == (0, 1, 0, 0)
    assert len(memory) == 3
    with pytest.raises(InputError, match="overlap"):
        index_paths(memory, [files("new.txt", "text")], max_tokens=10, overlap=10)


def test_what_a_chunk_says_of_its_place(memory, files):
    text = files("a.py", '"""Module."""\n\n\ndef search():\n    """Find."""\n')
    index_paths(memory, [files.folder], max_tokens=12, overlap=0)
    documents = list(memory)
    content = text.read_text()
    assert [document.metadata["chunk"] for document in documents] == list(range(len(documents)))
    for document in documents:
        fields = document.metadata
        assert content[fields["start"] : fields["end"]] == document.text
        assert content.count("\n", 0, fields["start"]) + 1 == fields["line"]
        assert (fields["path"], fields["language"]) == (str(text), "python")
        assert document.source == str(text)
    records = [{"text": "bread", "path": "theirs", "$id": 1, "": 2, "year": 1999}, {"text": "water"}]
    files("b.jsonl", "\n".join(map(json.dumps, records)))
    index_paths(memory, [files.folder])
    (hit,) = memory.search("bread", k=1, where={"year": 1999, "_$id": 1, "_": 2})
    assert (hit.metadata["path"], hit.metadata["line"]) == (str(files.folder / "b.jsonl"), 1)


def test_a_file_that_cannot_be_read_does_not_stop_the_rest(memory, files):
    files("a.pdf", b"%PDF-1.7 broken")
    files("b.txt", "kept text")
    files("c.txt", b"\0\1\2" * 100)
    files("d.txt", "caf\xe9 au lait".encode("latin-1"))
    report = index_paths(memory, [files.folder])
    assert [skipped.path.name for skipped in report.skipped] == ["a.pdf", "c.txt"]
    assert report.skipped[0].reason.startswith("this PDF is damaged")
    assert [warning.path.name for warning in report.warnings] == ["d.txt"]
    assert counts(report) == (2, 0, 0, 0)
    files("b.txt", b"\0" * 100)
    report = index_paths(memory, [files.folder])
    assert counts(report) == (0, 0, 1, 0)
    assert "what was indexed of it before is kept" in report.skipped[1].reason
    assert "kept text" in texts(memory)


def test_a_source_the_memory_refuses_does_not_stop_its_batch(memory, files, monkeypatch):
    for name in ("a", "b", "c"):
        files(f"{name}.txt", f"text {name}")
    replace = memory.replace_sources

    def refuse(updates, **options):
        if any(update.path.endswith("b.txt") for update in updates):
            raise InputError("b is refused")
        return replace(updates, **options)

    monkeypatch.setattr(memory, "replace_sources", refuse)
    report = index_paths(memory, [files.folder])
    assert counts(report) == (2, 0, 0, 0)
    assert [skipped.reason for skipped in report.skipped] == ["b is refused"]


def test_only_what_is_certainly_gone_is_forgotten(memory, files, tmp_path):
    files("a.txt", "in the folder")
    outside = tmp_path / "outside.txt"
    outside.write_text("outside")
    index_paths(memory, [files.folder, outside])
    memory.replace_sources([SourceUpdate(f"{files.folder}-other/x.txt", "v", ["beside"])])
    memory.add("by hand")
    outside.unlink()
    (files.folder / "node_modules").mkdir()
    (files.folder / "a.txt").rename(files.folder / "node_modules" / "a.txt")
    assert counts(index_paths(memory, [files.folder])) == (0, 0, 0, 1)
    assert texts(memory) == ["beside", "by hand", "outside"]
    with pytest.raises(InputError, match=r"outside\.txt: no such file"):
        index_paths(memory, [outside])


def test_the_memory_in_the_folder_is_passed_over(encoder, files):
    files("a.txt", "text")
    with Memory.open(files.folder / "memory", encoder=encoder) as memory:
        report = index_paths(memory, [files.folder])
        assert (counts(report), report.skipped) == ((1, 0, 0, 0), [])


def test_progress_and_small_batches(memory, files, monkeypatch):
    monkeypatch.setattr(batches, "CHUNKS_AT_ONCE", 2)
    for number in range(5):
        files(f"{number}.txt", f"text {number}")
    events = []
    index_paths(memory, [files.folder], on_progress=events.append)
    assert [event.size for event in events] == sorted(event.size for event in events)
    last = events[-1]
    assert (last.items, last.size, last.chunks) == (last.total_items, last.total_size, 5) == (5, 30, 5)


def test_a_run_that_is_stopped_goes_on(memory, encoder, files, monkeypatch):
    monkeypatch.setattr(batches, "CHUNKS_AT_ONCE", 2)
    for number in range(6):
        files(f"{number}.txt", f"stopped text {number}")

    def stop(event):
        if event.items >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_paths(memory, [files.folder], on_progress=stop)
    done = len(memory.sources())
    assert 2 <= done < 6
    encoder.encoded.clear()
    assert counts(index_paths(memory, [files.folder])) == (6 - done, 0, done, 0)
    assert len(encoder.encoded) == 6 - done


def test_the_standard_library(memory, encoder, monkeypatch):
    small = {"json", "time"}
    events = []
    report = index_standard_library(memory, modules=small, on_progress=events.append)
    assert counts(report) == (2, 0, 0, 0)
    assert report.chunks == len(memory) == events[-1].chunks
    assert next(iter(memory)).metadata["module"] == "time"  # asked about more often than json
    assert memory.search("serialize an object to a text", k=3)[0].metadata["name"].startswith("json.")
    encoder.encoded.clear()
    assert counts(index_standard_library(memory, modules=small)) == (0, 0, 2, 0)

    # The whole library, as small as these two.
    every = library.standard_library_modules
    monkeypatch.setattr(library, "standard_library_modules", lambda _: every(small))
    memory.replace_source("python:asyncore", "of an older Python", ["gone"])
    memory.replace_source("python 3.0.1", "stamp", [])
    assert counts(index_standard_library(memory)) == (0, 0, 2, 1)
    assert not encoder.encoded or encoder.encoded == ["gone"]
    assert [s.path for s in memory.sources()] == [
        f"python {sys.version.split()[0]}",
        "python:json",
        "python:time",
    ]
    monkeypatch.setattr(library, "standard_library_modules", None)
    assert counts(index_standard_library(memory)) == (0, 0, 2, 0)
