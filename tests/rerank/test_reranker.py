from dataclasses import dataclass

import pytest

import zenso
from zenso.errors import InputError, ModelError
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
KNOWN = [0.034839794892624315, 0.6734973544337544, 0.4131990946147923, 0.6078330526841392]


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
    assert all(-1 <= score <= 1 for score in scores)


def test_known_scores(reranker):
    scores = {result.index: result.score for result in reranker.rerank(QUESTION, CANDIDATES)}
    assert [scores[index] for index in range(4)] == KNOWN


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
    assert best.score == pytest.approx(1, abs=0.001)


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
    odd = ["日本語 🦊", "lone \ud800 surrogate", "control \x00\x07", "plants make energy " * 50_000]
    results = reranker.rerank(QUESTION, odd)
    assert results[0].index == 3
    assert results[0].text is odd[3]


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
        (b"bytes", "candidate 1 is bytes"),
        (Passage(3), "candidate 1 is Passage"),
    ],
)
def test_candidates_without_text_are_named(reranker, bad, named):
    with pytest.raises(InputError, match=named):
        reranker.rerank(QUESTION, ["fine", bad, "fine too"])


def test_one_string_is_not_a_list_of_candidates(reranker):
    with pytest.raises(InputError, match="candidates is one str"):
        reranker.rerank(QUESTION, "a single candidate")


def test_the_model_is_loaded_when_first_needed(encoder):
    reranker = zenso.ZenReranker()
    assert reranker.encoder is encoder
    assert ZenReranker("sentence-transformers/all-MiniLM-L6-v2").encoder is encoder


def test_an_unknown_model_is_an_error_when_it_is_needed():
    reranker = ZenReranker("no-such-model")
    with pytest.raises(ModelError, match="no-such-model"):
        reranker.rerank(QUESTION, CANDIDATES)
