from dataclasses import dataclass

import pytest

import zenso
from zenso.bitdelta import prefix, score
from zenso.errors import InputError, IntegrityError, ModelError
from zenso.memory import Memory
from zenso.rerank import RerankResult, ZenReranker

QUESTION = "How do plants make energy from sunlight?"
CANDIDATES = [
    "The stock market fell sharply on Tuesday.",
    "Photosynthesis turns sunlight, water and carbon dioxide into sugar in the leaves of plants.",
    "Plants grow in soil.",
    "Solar panels make electric energy from light.",
]
# Exact: the same on every machine.
KNOWN = [0.04054534589231138, 0.6637371235757505, 0.4055738998173681, 0.5917653602818611]


@dataclass
class Passage:
    text: str
    source: str = "somewhere"


def test_the_answer_comes_first(reranker):
    results = reranker.rerank(QUESTION, CANDIDATES)
    assert [result.index for result in results] == [1, 3, 2, 0]
    assert all(isinstance(result, RerankResult) for result in results)
    assert all(result.text == result.candidate == CANDIDATES[result.index] for result in results)
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert [result.evidence for result in results] == sorted((result.evidence for result in results), reverse=True)


def test_known_evidence(reranker):
    evidence = {result.index: result.evidence for result in reranker.rerank(QUESTION, CANDIDATES)}
    assert [evidence[index] for index in range(4)] == KNOWN


def test_top_n(reranker):
    every = reranker.rerank(QUESTION, CANDIDATES)
    for top_n in (1, 3, 4, 100):
        assert reranker.rerank(QUESTION, CANDIDATES, top_n=top_n) == every[:top_n]
    assert reranker.rerank(QUESTION, CANDIDATES, 2) == every[:2]


def test_equal_scores_keep_their_order(reranker):
    results = reranker.rerank(QUESTION, [CANDIDATES[0], CANDIDATES[1], *[CANDIDATES[2]] * 5, CANDIDATES[1]])
    assert [result.index for result in results] == [1, 7, 2, 3, 4, 5, 6, 0]


def test_a_score_does_not_depend_on_the_company(reranker):
    many = [f"{CANDIDATES[index % 4]} Number {index}." for index in range(130)]  # more than are embedded at once
    together = {result.index: result.score for result in reranker.rerank(QUESTION, many)}
    assert len(together) == 130
    for index in (0, 63, 64, 127, 128, 129):
        assert reranker.rerank(QUESTION, [many[index]])[0].score == together[index]
    backwards = {129 - result.index: result.score for result in reranker.rerank(QUESTION, many[::-1])}
    assert backwards == together


def test_a_text_matches_itself_best(reranker):
    best = reranker.rerank(CANDIDATES[2], CANDIDATES)[0]
    assert best.index == 2
    assert best.score > 0.99


def test_objects_with_a_text(reranker):
    passages = [Passage(text) for text in CANDIDATES]
    results = reranker.rerank(QUESTION, passages)
    plain = reranker.rerank(QUESTION, CANDIDATES)
    assert [(result.index, result.score, result.text) for result in results] == [
        (result.index, result.score, result.text) for result in plain
    ]
    assert all(result.candidate is passages[result.index] for result in results)


def test_objects_and_strings_together(reranker):
    mixed = [CANDIDATES[0], Passage(CANDIDATES[1])]
    assert reranker.rerank(QUESTION, mixed)[0].candidate is mixed[1]


class Node:
    """As LlamaIndex's: the text comes from a method."""

    def __init__(self, text):
        self._text = text

    def get_content(self):
        return self._text


@dataclass
class PageContent:
    """As LangChain's documents."""

    page_content: str


def test_dicts_and_objects_of_other_libraries(reranker):
    given = [
        {"text": CANDIDATES[0]},
        {"id": 1, "content": CANDIDATES[1]},
        Node(CANDIDATES[2]),
        PageContent(CANDIDATES[3]),
    ]
    scores = {result.index: result.score for result in reranker.rerank(QUESTION, given)}
    assert scores == {result.index: result.score for result in reranker.rerank(QUESTION, CANDIDATES)}


def test_codes(reranker, encoder):
    codes = encoder.encode_documents(CANDIDATES).codes
    from_arrays = reranker.rerank(QUESTION, list(codes))
    from_bytes = reranker.rerank(QUESTION, [code.tobytes() for code in codes])
    assert [(one.index, one.score, one.text) for one in from_arrays] == [
        (one.index, one.score, None) for one in from_bytes
    ]
    assert from_arrays[0].index == 1
    query = encoder.encode_query(QUESTION).prepare()
    expected = query.similarity(score(query, codes)).tolist()
    assert {one.index: one.evidence for one in from_arrays} == dict(enumerate(expected))


def test_codes_of_all_lengths_and_texts_together(reranker, encoder):
    codes = encoder.encode_documents(CANDIDATES).codes
    mixed = [prefix(codes, 1920)[1], CANDIDATES[0], codes[1].tobytes(), CANDIDATES[1], prefix(codes, 3840)[3]]
    results = reranker.rerank(QUESTION, mixed)
    alone = [reranker.rerank(QUESTION, [candidate])[0].score for candidate in mixed]
    assert [result.score for result in results] == sorted(alone, reverse=True)
    assert {result.index for result in results} == set(range(5))


def test_a_damaged_code_is_named(reranker, encoder):
    code = encoder.encode_documents(CANDIDATES[:1]).codes[0]
    code[0] = 255
    for damaged in (code, code[:100], b"bytes"):
        with pytest.raises(IntegrityError, match="candidate 1"):
            reranker.rerank(QUESTION, ["fine", damaged])


def test_stored_codes_of_a_memory(encoder, tmp_path):
    with Memory.open(tmp_path / "notes.zenso", encoder=encoder) as memory:
        memory.add(CANDIDATES)
        hits = memory.search(QUESTION, k=4, hybrid=False)
        reranker = ZenReranker(memory=memory)
        results = reranker.rerank(QUESTION, hits, from_codes=True)
        assert [result.candidate for result in results] == list(hits)
        assert [result.evidence for result in results] == [hit.similarity for hit in hits]
        assert [result.text for result in results] == [hit.text for hit in hits]
        memory.delete(hits[0].id)
        again = reranker.rerank(QUESTION, [*hits, "A text that is stored nowhere."], from_codes=True)
        assert len(again) == 5  # what is stored no more is read


def test_words_weigh_by_the_memory(encoder, tmp_path):
    with Memory.open(tmp_path / "notes.zenso", encoder=encoder) as memory:
        memory.add([f"plant number {number}" for number in range(200)])
        in_memory = ZenReranker(memory=memory).rerank("plant energy", CANDIDATES)
    anywhere = ZenReranker(encoder=encoder).rerank("plant energy", CANDIDATES)
    assert {one.index: one.evidence for one in in_memory} != {one.index: one.evidence for one in anywhere}


def test_stored_codes_need_a_memory(reranker):
    with pytest.raises(InputError, match="needs the memory"):
        reranker.rerank(QUESTION, CANDIDATES, from_codes=True)


def test_explanations(reranker):
    long = (
        "Nothing to see. " * 150 + "Photosynthesis is how plants make energy from sunlight. " + "Nothing to see. " * 150
    )
    for result in reranker.rerank(QUESTION, [*CANDIDATES, long], explain=True):
        explanation = result.explanation
        assert result.text[explanation.start : explanation.end] == explanation.passage
        assert sum(match.share for match in explanation.matches) == pytest.approx(1)
        for match in explanation.matches:
            assert result.text[match.start : match.end] == match.candidate
            assert match.query.lower() in QUESTION.lower()
        if result.text is long:
            assert "plants make energy from sunlight" in explanation.passage
            assert [match.candidate for match in explanation.matches if match.query == "sunlight"] == ["sunlight"]
    assert reranker.rerank(QUESTION, CANDIDATES)[0].explanation is None


def test_hits_of_a_memory(reranker, encoder, tmp_path):
    with Memory.open(tmp_path / "notes.zenso", encoder=encoder) as memory:
        memory.add(CANDIDATES, metadata=[{"number": number} for number in range(4)])
        hits = memory.search(QUESTION, k=4)
    results = reranker.rerank(QUESTION, hits, top_n=1)
    assert results[0].candidate is hits[results[0].index]
    assert results[0].candidate.metadata == {"number": 1}


def test_no_candidates(reranker):
    assert reranker.rerank(QUESTION, []) == []


def test_long_candidates_and_odd_characters(reranker):
    odd = ["日本語 🦊", "lone \ud800 surrogate", "control \x00\x07", "plants make energy " * 2_000]
    results = reranker.rerank(QUESTION, odd)
    assert results[0].index == 3
    assert results[0].text is odd[3]


def test_only_the_beginning_of_an_endless_text_is_read(reranker):
    endless = f"{'x':100}" * 500 + "Plants make energy from sunlight by photosynthesis."
    beginning, whole = reranker.rerank(QUESTION, [endless[:50_000], endless])
    assert beginning.evidence == whole.evidence
    assert whole.text is endless


def test_progress_counts_candidates(reranker):
    done = []
    reranker.rerank(QUESTION, CANDIDATES * 40, on_progress=done.append)
    assert sum(done) == 160
    assert len(done) > 1


@pytest.mark.parametrize("top_n", [0, -2])
def test_top_n_below_one_is_refused(reranker, top_n):
    with pytest.raises(InputError, match=f"top_n is {top_n}"):
        reranker.rerank(QUESTION, CANDIDATES, top_n=top_n)


@pytest.mark.parametrize(
    ("query", "named"), [("", "query is empty"), (" \n", "query is empty"), (None, "query is NoneType")]
)
def test_a_query_without_text_is_refused(reranker, query, named):
    with pytest.raises(InputError, match=named):
        reranker.rerank(query, CANDIDATES)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("", "candidate 1 is empty"),
        ("  ", "candidate 1 is empty"),
        (Passage(""), "candidate 1 is empty"),
        (None, "candidate 1 is NoneType"),
        (Passage(3), "candidate 1 is Passage"),
        ({"title": "no text"}, "candidate 1 is dict"),
        ({"text": " "}, "candidate 1 is empty"),
    ],
)
def test_candidates_without_text_are_named(reranker, bad, named):
    with pytest.raises(InputError, match=named):
        reranker.rerank(QUESTION, ["fine", bad, "fine too"])


@pytest.mark.parametrize("one", ["a single candidate", b"code", {"text": "a single candidate"}])
def test_one_candidate_is_not_a_list_of_candidates(reranker, one):
    with pytest.raises(InputError, match=f"candidates is one {type(one).__name__}"):
        reranker.rerank(QUESTION, one)


def test_the_model_is_loaded_when_first_needed(encoder):
    reranker = zenso.ZenReranker()
    assert reranker.encoder is encoder
    assert ZenReranker("sentence-transformers/all-MiniLM-L6-v2").encoder is encoder


def test_an_unknown_model_is_an_error_when_it_is_needed():
    reranker = ZenReranker("no-such-model")
    with pytest.raises(ModelError, match="no-such-model"):
        reranker.rerank(QUESTION, CANDIDATES)
