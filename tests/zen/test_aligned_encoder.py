import json
from dataclasses import replace

import numpy as np
import pytest

from zenso import models
from zenso.bitdelta import scan
from zenso.errors import InputError, ModelError
from zenso.memory import Memory
from zenso.zen import AlignedEncoder, Aligner, ModelFiles
from zenso.zen.integer_map import IntegerMap

MODEL, OTHER = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
NOTES = {
    "plants": "Plants turn sunlight, water and carbon dioxide into sugar.",
    "stars": "Stars are balls of plasma held together by gravity.",
    "bread": "Bread is made of flour, water and yeast.",
    "virus": "A virus copies itself inside the cells of its host.",
    "bridge": "The bridge was closed for repairs of its steel cables.",
}
QUESTIONS = {
    "plants": "how do leaves make food from light?",
    "stars": "which force holds balls of hot gas together?",
    "bread": "which ingredients does a baker need?",
    "virus": "how do pathogens multiply?",
    "bridge": "why could cars not cross the river?",
}
needs_other = pytest.mark.skipif(
    models.locate(OTHER) is None, reason=f"{OTHER} is not in the cache (zenso models fetch {OTHER})"
)


def identity(encoder):
    """An aligner of a model to itself, which changes nothing but the last digit."""
    files = ModelFiles.of(encoder.provenance.model)
    unit = (16384 * np.eye(384)).astype(np.int16)
    nothing = np.zeros(384, np.int64)
    return Aligner(
        files,
        files,
        IntegerMap(unit, nothing),
        IntegerMap(np.hstack([unit, 0 * unit]), nothing),
        np.arange(len(encoder._encoder.artifact.words), dtype=np.int32),
    )


@pytest.fixture(scope="module")
def aligned(encoder):
    return AlignedEncoder(MODEL, MODEL, aligner=identity(encoder))


@pytest.fixture(scope="module")
def pooled_only(encoder):
    return AlignedEncoder(MODEL, MODEL, aligner=replace(identity(encoder), tokens=None, token_ids=None))


@pytest.fixture
def folder(encoder, tmp_path):
    """A memory of native embeddings."""
    with Memory.open(tmp_path / "notes.zenso", encoder=encoder) as memory:
        memory.add(list(NOTES.values()), ids=list(NOTES))
    return tmp_path / "notes.zenso"


def test_everything_passes_through_the_maps(encoder, aligned, texts):
    ours, native = aligned.encode_documents(texts), encoder.encode_documents(texts)
    assert np.abs(ours.vectors.astype(int) - native.vectors).max() <= 1
    assert np.array_equal(ours.token_counts, native.token_counts)
    assert all(np.array_equal(one, other) for one, other in zip(ours.token_sets, native.token_sets, strict=True))
    assert np.mean(ours.codes != native.codes) < 0.1
    query, wanted = aligned.encode_query(texts[1]), encoder.encode_query(texts[1])
    assert np.abs(query.tokens.astype(int) - wanted.tokens).max() <= 1
    assert np.array_equal(query.weights, wanted.weights)
    assert np.array_equal(aligned.encode_vectors(texts), ours.vectors)
    assert np.array_equal(aligned.encode_tokens(texts[1:2])[0].tokens, query.tokens)
    for method in ("token_sets", "word_tokens"):
        found, expected = (getattr(one, method)(["the river", "gravity"]) for one in (aligned, encoder))
        assert [one.tolist() for one in found] == [one.tolist() for one in expected]


def test_provenance_is_never_that_of_native_embeddings(encoder, aligned):
    native, own = encoder.provenance, aligned.provenance
    assert (native.native, own.native) == (True, False)
    assert native.searched is native
    assert own.searched.differences(native.to_json()) == []
    assert {"aligner", "code"} <= set(own.differences(native.to_json()))
    assert own.digest != native.digest
    stored = json.loads(own.to_json())
    assert stored["aligner"] == aligned.aligner.digest.hex()
    assert stored["aligned_to"]["model_id"] == f"sentence-transformers/{MODEL}"


def test_a_memory_of_native_codes_is_searched(folder, encoder, aligned):
    with Memory.open(folder, encoder=aligned) as memory, Memory.open(folder, encoder=encoder) as native:
        for name, question in QUESTIONS.items():
            assert memory.search(question, hybrid=False)[0].id == name
            for hybrid in (True, False):
                hits, wanted = memory.search(question, hybrid=hybrid), native.search(question, hybrid=hybrid)
                assert [hit.id for hit in hits] == [hit.id for hit in wanted]


def test_a_memory_stores_nothing_of_it(folder, aligned, tmp_path):
    with Memory.open(folder, encoder=aligned) as memory:
        for change in (lambda: memory.add("text"), memory.reembed):
            with pytest.raises(ModelError, match=rf"embeddings of .*{MODEL} through an aligner"):
                change()
        assert len(memory) == len(NOTES)
    with Memory.open(tmp_path / "new", encoder=aligned) as memory:
        with pytest.raises(ModelError, match="through an aligner"):
            memory.add("text")
        assert len(memory) == 0


def test_a_memory_of_another_model_is_not_searched(folder, encoder, aligned):
    class Other:
        provenance = replace(aligned.provenance, aligned_to=replace(encoder.provenance.model, weights="00"))

        def __getattr__(self, name):
            return getattr(aligned, name)

    with Memory.open(folder, encoder=Other()) as memory, pytest.raises(ModelError, match=r"differ in model\.weights"):
        memory.search("text")


def test_pooled_vectors_alone_score_slot_0(folder, encoder, pooled_only):
    documents = encoder.encode_documents(list(NOTES.values()))
    for row, (name, question) in enumerate(QUESTIONS.items()):
        query = pooled_only.encode_query(question)
        assert query.tokens.shape == (1, 384)
        prepared = query.prepare()
        order = np.argsort(-scan(prepared, documents.codes), kind="stable")
        assert order[0] == row
        with Memory.open(folder, encoder=pooled_only) as memory:
            hits = memory.search(question, hybrid=False)
            assert hits[0].id == name
            assert [hit.id for hit in hits] == [list(NOTES)[place] for place in order]
            assert memory.search("flour and yeast")[0].id == "bread"
    assert [one.tolist() for one in pooled_only.token_sets(["a", "b"])] == [[0], [0]]


def test_an_aligner_of_other_models_is_refused(encoder):
    good = identity(encoder)
    for wrong in (
        replace(good, source=ModelFiles("somebody/else")),
        replace(good, source=replace(good.source, weights="00")),
        replace(good, target=ModelFiles("somebody/else")),
    ):
        with pytest.raises(ModelError, match="the aligner is from"):
            AlignedEncoder(MODEL, MODEL, aligner=wrong)


def test_an_aligner_of_other_sizes_is_refused(encoder):
    good = identity(encoder)
    narrow = IntegerMap(good.pooled.weights[:, :64], good.pooled.bias)
    for wrong in (
        replace(good, pooled=narrow, tokens=None, token_ids=None),
        replace(good, token_ids=good.token_ids[:-1]),
        replace(good, token_ids=good.token_ids + 1),
    ):
        with pytest.raises(ModelError, match="of other models"):
            AlignedEncoder(MODEL, MODEL, aligner=wrong)


def test_models_without_an_aligner():
    with pytest.raises(ModelError, match="no aligner from e5-small-v2 to all-MiniLM-L6-v2 is shipped"):
        AlignedEncoder("e5-small-v2")
    with pytest.raises(ModelError, match="unknown model 'no-such-model'"):
        AlignedEncoder("no-such-model")


def test_empty_texts_are_named(aligned):
    with pytest.raises(InputError, match="text 1 is empty"):
        aligned.encode_documents(["fine", " "])


@needs_other
def test_the_shipped_aligner_finds_by_meaning(folder, encoder):
    other = AlignedEncoder(OTHER, MODEL)
    with Memory.open(folder, encoder=other) as memory:
        for name, question in QUESTIONS.items():
            assert memory.search(question, hybrid=False)[0].id == name
        assert memory.search("flour and yeast")[0].id == "bread"
    texts = list(NOTES.values())
    native = encoder.encode_vectors(texts).astype(np.float64)
    found = other.encode_vectors(texts).astype(np.float64)
    cosines = (native * found).sum(axis=1) / 32767**2
    assert cosines.min() > 0.5
    ids = [one.tolist() for one in other.token_sets(texts)]
    assert ids == [one.tolist() for one in encoder.token_sets(texts)]


def test_windows_count_tokens_of_the_other_model(aligned, pooled_only, encoder):
    (native,) = encoder.cut_windows([NOTES["plants"]])
    (mapped,), (pooled,) = (one.cut_windows([NOTES["plants"]]) for one in (aligned, pooled_only))
    assert mapped.ids.tolist() == native.ids.tolist()
    assert mapped.spans == pooled.spans == native.spans
    assert len(pooled.ids) == 0
