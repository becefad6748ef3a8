import pytest

from zenso.errors import InputError
from zenso.memory import Memory, Source, SourceUpdate


def test_a_source_is_replaced_as_a_whole(memory, encoder):
    assert memory.source_fingerprint("a.txt") is None
    first = memory.replace_source("a.txt", "v1", ["one", "two", "three"], [{"n": 1}, {"n": 2}, {"n": 3}])
    memory.add("kept", ids="kept")
    assert memory.source_fingerprint("a.txt") == "v1"
    assert memory.sources() == [Source("a.txt", "v1", 3)]
    assert {memory[name].source for name in first} == {"a.txt"}
    encoder.encoded.clear()
    second = memory.replace_source("a.txt", "v2", ["zero", "two", "three"], {"v": 2})
    assert encoder.encoded == ["zero"]
    assert second[1:] == first[1:]
    assert memory.sources() == [Source("a.txt", "v2", 3)]
    assert [d.text for d in memory] == ["kept", "zero", "two", "three"]
    assert {hit.text for hit in memory.search("number", k=9)} == {"kept", "zero", "two", "three"}
    assert memory.search("number", where={"n": {"$exists": True}}) == []


def test_the_same_text_in_two_sources_is_two_documents(memory):
    ids = memory.replace_source("a.txt", "v", ["licence", "licence"]) + memory.replace_source("b.txt", "v", ["licence"])
    ids += memory.add("licence")
    assert len(set(ids)) == len(memory) == 4
    assert memory.remove_source("a.txt") == 2
    assert sorted(memory.ids()) == sorted(ids[2:])
    assert memory.remove_source("a.txt") == 0
    assert [source.path for source in memory.sources()] == ["b.txt"]


def test_a_source_without_text_is_remembered(memory):
    assert memory.replace_source("empty.txt", "v1", []) == []
    assert memory.source_fingerprint("empty.txt") == "v1"
    assert memory.sources() == [Source("empty.txt", "v1", 0)]


def test_bad_input_leaves_the_source_as_it_was(memory):
    memory.replace_source("a.txt", "v1", ["one"])
    for texts, fingerprint, message in ((["two", " "], "v2", r"texts\[1\]"), (["two"], 2, "fingerprint")):
        with pytest.raises(InputError, match=message):
            memory.replace_source("a.txt", fingerprint, texts)
    with pytest.raises(InputError, match="path of a source"):
        memory.replace_source("", "v", ["one"])
    with pytest.raises(InputError, match="path of a source"):
        memory.source_fingerprint("\ud800")
    assert memory.sources() == [Source("a.txt", "v1", 1)]
    assert [d.text for d in memory] == ["one"]


def test_file_names_that_are_not_utf8_stay_distinct(folder, encoder):
    names = [b"caf\xe9.txt".decode("utf-8", "surrogateescape"), b"caf\xea.txt".decode("utf-8", "surrogateescape")]
    with Memory.open(folder, encoder=encoder) as memory:
        for name in names:
            memory.replace_source(name, name[:1], ["text"])
    with Memory.open(folder, encoder=encoder) as memory:
        assert [source.path for source in memory.sources()] == names
        assert [document.source for document in memory] == names
        assert memory.source_fingerprint(names[1]) == "c"


def test_a_document_of_a_source_that_is_added_by_hand_leaves_it(memory):
    (document_id,) = memory.replace_source("a.txt", "v1", ["one"])
    memory.add("one", ids=document_id)
    assert memory[document_id].source is None
    assert memory.remove_source("a.txt") == 0
    assert document_id in memory


def test_several_sources_are_replaced_together_or_not_at_all(memory, encoder):
    encoder.encoded.clear()
    updates = [SourceUpdate("a.txt", "v1", ["one", "two"], {"n": 1}), SourceUpdate("b.txt", "v1", ["two", "three"])]
    done = []
    ids = memory.replace_sources(updates, on_progress=done.append)
    assert [len(part) for part in ids] == [2, 2]
    assert encoder.encoded == ["one", "two", "three"]
    assert sum(done) == 4
    assert memory.sources() == [Source("a.txt", "v1", 2), Source("b.txt", "v1", 2)]
    assert memory.replace_sources([]) == []
    for bad, message in ((SourceUpdate("b.txt", "v2", [""]), "empty"), (SourceUpdate("a.txt", "v3", []), "twice")):
        with pytest.raises(InputError, match=message):
            memory.replace_sources([SourceUpdate("a.txt", "v2", ["four"]), bad])
    assert memory.sources() == [Source("a.txt", "v1", 2), Source("b.txt", "v1", 2)]


def test_an_encoder_can_be_loaded_when_it_is_needed(folder, encoder):
    loaded = []

    def load():
        loaded.append(1)
        return encoder

    with Memory.open(folder, encoder=load) as memory:
        assert memory.search("anything") == []
        assert not loaded
        memory.add(["one", "two"])
        memory.add("three")
        assert memory.encoder is encoder
    assert loaded == [1]
