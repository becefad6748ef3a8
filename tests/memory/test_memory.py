import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zenso.memory
from zenso.bitdelta import top_k
from zenso.errors import InputError, ModelError, StorageError
from zenso.memory import Document, Hit, Memory, UnknownIdError, reading, store
from zenso.memory.words import rank_by_words


def test_public_names():
    assert sorted(zenso.memory.__all__) == [
        "Candidate",
        "CheckReport",
        "CompactReport",
        "Document",
        "Explanation",
        "Finding",
        "Hit",
        "Hits",
        "ImportReport",
        "Memory",
        "MemoryInfo",
        "Metadata",
        "MetadataValue",
        "Page",
        "SearchSettings",
        "Snapshot",
        "Source",
        "SourceUpdate",
        "Stage",
        "UnknownIdError",
        "check_memory",
        "list_snapshots",
        "restore",
    ]


def test_documents_are_found_and_deleted_by_a_filter(memory):
    ids = memory.add(["one", "two", "three"], metadata=[{"n": 1}, {"n": 2}, {"n": 3}])
    assert [document.id for document in memory.find({"n": {"$gte": 2}})] == ids[1:]
    assert memory.find({"$ids": [ids[1], "unknown"]}) == [memory[ids[1]]]
    assert memory.delete_where({"n": {"$lt": 3}}) == 2
    assert memory.ids() == ids[2:]
    assert [hit.id for hit in memory.search("two")] == ids[2:]
    assert memory.delete_where({"n": 9}) == 0
    with pytest.raises(InputError, match="where is None"):
        memory.delete_where(None)
    assert memory.delete_where({}) == 1
    assert len(memory) == 0


def test_search_by_a_vector(memory, encoder):
    texts = ["A dog barks.", "Cats purr.", "Bread needs flour.", "A dog barks."]
    memory.add(texts, ids=["d", "c", "b", "a"], metadata=[{"n": n} for n in range(4)])
    vectors = memory.vectors(["a", "b", "unknown"])
    assert list(vectors) == ["a", "b"]
    embedded = encoder.encode_documents(texts).vectors
    assert np.array_equal(vectors["b"], embedded[2])
    exact = embedded.astype(np.int64) @ embedded[0].astype(np.int64)
    expected = sorted(zip(-exact, ["d", "c", "b", "a"], strict=True))
    hits = memory.search_vector(embedded[0], k=4)
    assert [(hit.id, hit.score) for hit in hits] == [(name, -dot / 32767**2) for dot, name in expected]
    assert [hit.id for hit in hits] == ["a", "d", "c", "b"]  # equal scores by id
    assert memory.search_vector(embedded[0], k=3) == hits[:3]
    assert memory.search_vector(embedded[0], where={"n": 2}) == hits[3:]
    floats = memory.search_vector((embedded[0] / 1234).tolist())
    assert [hit.id for hit in floats] == [hit.id for hit in hits]
    assert floats[0].similarity == pytest.approx(1, abs=1e-4)


def test_a_vector_is_searched_in_all_blocks(memory, monkeypatch):
    monkeypatch.setattr(store, "_VECTORS_AT_ONCE", 2)
    memory.add(["one", "two", "three", "four", "five"], ids=list("abcde"))
    assert memory.search_vector(memory.vectors("e")["e"], k=1)[0].id == "e"
    assert len(memory.search_vector(memory.vectors("e")["e"], k=9)) == 5


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([0.5] * 383, "383 numbers, the documents' have 384"),
        ([0.0] * 384, "zero"),
        ([float("nan")] * 384, "NaN"),
        ([[0.5] * 384], "shape"),
        (["x"] * 384, "give one row of numbers"),
    ],
)
def test_vectors_that_cannot_be_searched_for(memory, vector, message):
    memory.add("text")
    with pytest.raises(InputError, match=message):
        memory.search_vector(vector)


def test_search_by_a_vector_in_an_empty_memory(memory):
    assert memory.search_vector([1.0] * 384) == []
    with pytest.raises(InputError, match="k is 0"):
        memory.search_vector([1.0] * 384, k=0)


def test_add_search_get_delete(memory):
    ids = memory.add(["A dog barks at night.", "Bread needs flour and water."], metadata=[{"lang": "en"}, {"n": 2}])
    assert len(memory) == 2
    assert memory.ids() == ids
    hits = memory.search("How to bake a loaf: flour and water", k=2)
    assert [hit.id for hit in hits] == [ids[1], ids[0]]
    assert isinstance(hits[0], Hit)
    assert hits[0].text == "Bread needs flour and water."
    assert hits[0].metadata == {"n": 2}
    assert 1 >= hits[0].score > hits[1].score >= -1
    assert memory.get(ids[0]) == Document(ids[0], "A dog barks at night.", {"lang": "en"})
    assert memory[ids[0]] == memory.get(ids[0])
    assert ids[0] in memory
    assert memory.delete(ids[0]) == 1
    assert ids[0] not in memory
    assert memory.get(ids[0]) is None
    assert [hit.id for hit in memory.search("dog", k=5)] == [ids[1]]
    with pytest.raises(UnknownIdError, match=ids[0]):
        memory[ids[0]]
    with pytest.raises(KeyError):
        memory[ids[0]]


def test_everything_is_there_after_opening_again(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add("one thing", ids="a", metadata={"tags": ["x", "y"], "none": None, "yes": True, "pi": 3.14})
        before = list(memory), memory.search("thing")
    with Memory.open(folder, encoder=encoder) as memory:
        assert (list(memory), memory.search("thing")) == before
        assert memory["a"].metadata == {"tags": ["x", "y"], "none": None, "yes": True, "pi": 3.14}
        assert memory["a"].metadata["yes"] is True


def test_the_same_text_twice_is_one_document(memory, encoder):
    first = memory.add(["same", "other", "same"])
    assert first[0] == first[2]
    assert len(memory) == 2
    encoder.encoded.clear()
    order = memory.ids()
    assert memory.add("same", metadata={"seen": 2}) == first[:1]
    assert encoder.encoded == []  # what is stored is not embedded again
    assert memory.ids() == order
    assert memory["".join(first[:1])].metadata == {"seen": 2}
    assert len(memory.search("same", where={"seen": 2})) == 1


def test_an_id_that_exists_is_replaced(memory):
    memory.add(["old text", "another"], ids=["a", "b"], metadata=[{"v": 1}, {}])
    memory.add("new text", ids="a")
    assert [(d.id, d.text, d.metadata) for d in memory] == [("b", "another", {}), ("a", "new text", {})]
    assert {hit.text for hit in memory.search("text", k=9)} == {"new text", "another"}
    assert memory.search("text", where={"v": 1}) == []


def test_equal_scores_come_in_order_of_ids(memory):
    memory.add(["twin"] * 3, ids=["c", "a", "b"])
    assert [hit.id for hit in memory.search("twin", k=2)] == ["a", "b"]


def test_one_mapping_of_metadata_counts_for_every_text(memory):
    memory.add(["one", "two"], metadata={"batch": 7})
    assert [document.metadata for document in memory] == [{"batch": 7}, {"batch": 7}]


def test_progress_counts_up_to_the_number_of_texts(memory, monkeypatch):
    monkeypatch.setattr("zenso.memory.writing.BATCH_DOCUMENTS", 3)
    seen = []
    memory.add([f"text {n}" for n in range(8)], on_progress=seen.append)
    assert sum(seen) == 8
    memory.add([f"text {n % 10}" for n in range(12)], on_progress=seen.append)  # stored, new, and twice in one call
    assert sum(seen) == 20
    assert min(seen) >= 1
    assert len(memory) == 10


def test_iteration_is_of_one_moment(memory):
    memory.add(["one", "two", "three"], ids=["1", "2", "3"])
    seen = []
    for document in memory:
        seen.append(document.id)
        memory.add(document.text + " again", ids=document.id)
        memory.delete("3")
    assert seen == ["1", "2", "3"]
    assert memory.ids() == ["1", "2"]


def test_no_model_is_loaded_for_what_needs_none(folder, memory):
    memory.add("a text", ids="a")
    with Memory.open(folder, model="no-such-model") as other:
        assert len(other) == 1
        assert other["a"].text == "a text"
        assert [document.id for document in other] == ["a"]
        assert other.delete("a") == 1
        assert other.search("anything") == []  # and an empty memory has nothing to search


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("", "the text is empty"),
        ("  \n\t\u3000", "only white space"),
        (["fine", " "], r"texts\[1\] is only white space"),
        (["fine", None], r"texts\[1\] is of type NoneType"),
        (["fine", b"bytes"], r"texts\[1\] is of type bytes; .*decode"),
        (b"bytes", "texts is of type bytes"),
        (7, "texts is of type int"),
    ],
)
def test_bad_texts_are_named_and_nothing_is_stored(memory, texts, message):
    with pytest.raises(InputError, match=message):
        memory.add(texts)
    assert len(memory) == 0


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a"], "1 ids for 2 texts"),
        (["a", ""], r"ids\[1\] is the empty string"),
        (["a", "x" * 513], r"ids\[1\] has 513 characters"),
        (["a", 5], r"ids\[1\] is 5"),
        (["a", "\ud800"], "lone surrogates"),
        (b"ab", "ids is of type bytes"),
    ],
)
def test_bad_ids(memory, ids, message):
    with pytest.raises(InputError, match=message):
        memory.add(["one", "two"], ids=ids)
    assert len(memory) == 0


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([{}], "1 entries for 2 texts"),
        ([{}, {"a": {"b": 1}}], r"'a' of texts\[1\] is of type dict.*flatten"),
        ([{}, {"a": [[1]]}], "member of metadata 'a'.*list"),
        ([{}, {"a": float("nan")}], "nan"),
        ([{}, {"a": float("inf")}], "inf"),
        ([{}, {"a": 2**63}], "64 bits"),
        ([{}, {"": 1}], "empty string"),
        ([{}, {"$gt": 1}], "operators"),
        ([{}, {1: 1}], "metadata key"),
        ([{}, {"a": np.int64(1)}], "int64"),
        ([{}, "text"], "give a dict"),
        ("text", "metadata is of type str"),
        ({"a": object()}, "object"),
    ],
)
def test_bad_metadata(memory, metadata, message):
    with pytest.raises(InputError, match=message):
        memory.add(["one", "two"], metadata=metadata)
    assert len(memory) == 0


@pytest.mark.parametrize("k", [0, -1, True, 2.5, "3", None])
def test_bad_k(memory, k):
    with pytest.raises(InputError, match="k is"):
        memory.search("query", k)


@pytest.mark.parametrize("query", ["", " ", None, b"q"])
def test_bad_query(memory, query):
    with pytest.raises(InputError, match="the query is"):
        memory.search(query)


@pytest.mark.parametrize(
    "text",
    [
        "control \x00\x01\x07\x1b[31m characters",
        "\u05e9\u05dc\u05d5\u05dd \u202e right to left",
        "\u4f60\u597d\uff0c\u4e16\u754c",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467 family",
        "\x00",
    ],
)
def test_unusual_text_comes_back_as_it_was(memory, text):
    (document_id,) = memory.add(text, metadata={text: [text, text]})
    assert memory[document_id] == Document(document_id, text, {text: [text, text]})
    assert [hit.text for hit in memory.search(text, where={text: text})] == [text]


def test_lone_surrogates_become_replacement_characters(memory):
    (document_id,) = memory.add("bad \ud800 and \udfff", metadata={"k\ud800": "v\udc00"})
    assert memory[document_id] == Document(document_id, "bad \ufffd and \ufffd", {"k\ufffd": "v\ufffd"})
    assert memory.add("bad \ufffd and \ufffd") == [document_id]
    assert [hit.id for hit in memory.search("bad \ud800", where={})] == [document_id]


def test_ten_megabytes_are_stored_whole(memory):
    text = "all work and no play " * 500_000
    (document_id,) = memory.add([text])
    assert memory[document_id].text == text
    assert memory.search("work and play")[0].id == document_id


def test_models_are_never_mixed(folder, memory, encoder):
    memory.add("made by one model", ids="a")

    class Other:
        provenance = replace(encoder.provenance, model=replace(encoder.provenance.model, model_id="another-model"))

        def __getattr__(self, name):
            return getattr(encoder, name)

    with Memory.open(folder, encoder=Other()) as other:
        for call in (lambda: other.add("text"), lambda: other.search("text")):
            with pytest.raises(
                ModelError, match=r"embedded with .* loaded is another-model \(they differ in .*model_id"
            ):
                call()
        assert len(other) == 1
        other.delete("a")
        other.add("now it is the other model's memory")
        assert other.info().model == "another-model"
    with pytest.raises(ModelError, match="embedded with another-model"):
        memory.add("text")


def test_another_build_of_the_same_kernel_version_is_welcome(folder, memory, encoder):
    memory.add("made by one build", ids="a")

    class Rebuilt:
        provenance = replace(encoder.provenance, model=replace(encoder.provenance.model, kernel="00" * 32))

        def __getattr__(self, name):
            return getattr(encoder, name)

    with Memory.open(folder, encoder=Rebuilt()) as other:
        other.add("made by another build", ids="b")
        assert {hit.id for hit in other.search("build", k=5)} == {"a", "b"}


def test_info(memory, folder, encoder):
    assert memory.info().documents == 0
    assert memory.info().provenance is None
    memory.add(["one", "two"])
    info = memory.info()
    assert (info.documents, info.sources, info.path) == (2, 0, str(folder))
    assert info.provenance == json.loads(encoder.provenance.to_json())
    assert info.model == info.provenance["model"]["model_id"]
    assert info.bytes_on_disk == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_closed_memory_says_so(folder, encoder):
    memory = Memory.open(folder, encoder=encoder)
    memory.close()
    memory.close()
    for call in (lambda: len(memory), lambda: memory.add("text"), lambda: memory.delete("a")):
        with pytest.raises(InputError, match="closed; open it again"):
            call()


def test_read_only_never_writes(folder, encoder):
    with pytest.raises(StorageError, match="no memory at"):
        Memory.open(folder, read_only=True)
    assert not folder.exists()
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add("a text", ids="a")
    with Memory.open(folder, read_only=True, encoder=encoder) as memory:
        assert memory.search("text")[0].id == "a"
        for call in (lambda: memory.add("more"), lambda: memory.delete("a"), lambda: memory.remove_source("x")):
            with pytest.raises(StorageError, match="read_only"):
                call()
        assert len(memory) == 1


WORDS = ["dog", "cat", "a blue car", "wet paint", "paper and ink"]
NAMES = ["a", "b", "c", "d"]
changes = st.one_of(
    st.tuples(st.just("add"), st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(WORDS)), max_size=4)),
    st.tuples(st.just("delete"), st.lists(st.sampled_from(NAMES), max_size=3)),
    st.tuples(st.just("reopen"), st.just([])),
    st.tuples(st.just("search"), st.just([])),
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(changes, max_size=12))
def test_a_memory_equals_a_dict(steps, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = {}
    memory = Memory.open(folder, encoder=encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zenso.memory.upkeep.SEGMENT_ROWS", 3)
        patch.setattr("zenso.memory.upkeep.CLOSING_ROWS", 2)
        for number, (step, arguments) in enumerate(steps):
            if step == "add":
                memory.add([t for _, t in arguments], ids=[i for i, _ in arguments], metadata={"step": number})
                for name, text in arguments:
                    if name in model and model[name][0] != text:
                        del model[name]
                    model[name] = (text, number)
            elif step == "delete":
                assert memory.delete(arguments) == len({name for name in arguments if model.pop(name, None)})
            elif step == "reopen":
                memory.close()
                memory = Memory.open(folder, encoder=encoder)
            else:
                assert_search_is_exhaustive(memory, model, encoder)
        assert [(d.id, d.text, d.metadata["step"]) for d in memory] == [(i, *rest) for i, rest in model.items()]
        assert_search_is_exhaustive(memory, model, encoder)
        memory.close()


def assert_search_is_exhaustive(memory, model, encoder):
    """Compare with scoring every code of the model in one matrix, and the same under a filter."""
    if not model:
        assert memory.search("pets", k=9) == []
        return
    embedded = encoder.encode_documents([text for text, _ in model.values()])

    def frequencies(ids):
        return len(model), np.array([sum(token in held for held in embedded.token_sets) for token in ids])

    query = encoder.encode_query("pets", frequencies).prepare()
    rows, scores = top_k(query, embedded.codes, len(model))
    names = list(model)
    ranked = sorted(zip(-scores, [names[row] for row in rows], strict=True))
    expected = [(name, float(query.similarity(-negative))) for negative, name in ranked]
    for k in (9, 2):
        found = memory.search("pets", k=k, hybrid=False)
        assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.similarity) for hit in found] == expected[:k]
        assert {(hit.id, hit.similarity) for hit in memory.search("pets", k=k)} <= set(expected)
    last = max(step for _, step in model.values())
    filtered = [name for name, _ in expected if model[name][1] == last]
    assert [hit.id for hit in memory.search("pets", k=9, where={"step": last}, hybrid=False)] == filtered
    assert {hit.id for hit in memory.search("wet dog", k=9, where={"step": last})} == set(filtered)
    assert {hit.id for hit in memory.search("dog", k=9)} == set(model)
    by_words = sorted(name for name, (text, _) in model.items() if text == "dog")
    with memory._database.read() as connection:
        found = rank_by_words(connection, ["dog"], 9, None)
        assert [store.document_at(connection, seq).id for seq in found] == by_words


def test_pages_hold_every_document_once(memory, monkeypatch):
    memory.add(
        [f"text {n}" for n in range(7)], ids=[str(n) for n in range(7)], metadata=[{"odd": n % 2} for n in range(7)]
    )
    first = memory.page(limit=3)
    memory.delete("1")
    memory.add("another", ids="7")
    rest = memory.page(after=first.next, limit=10)
    assert [one.id for one in first.documents + rest.documents] == [str(n) for n in range(8)]
    assert rest.next is None
    assert [one.id for one in memory.page({"odd": 1}).documents] == ["3", "5"]
    monkeypatch.setattr(reading, "PAGE_CHARACTERS", 8)  # of which one text has six
    assert len(memory.page().documents) == 2
    for wrong in ({"limit": 0}, {"after": -1}, {"after": 2**63}):
        with pytest.raises(InputError, match="give a limit of at least 1"):
            memory.page(**wrong)
