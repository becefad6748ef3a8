"""Coarse to fine: the same hits as scoring every code, for the same reasons, with less work."""

import dataclasses
import random

import numpy as np
import pytest

from zenso.bitdelta import DIMENSIONS, prefix, score
from zenso.errors import InputError
from zenso.memory import Hits, Memory, SearchSettings
from zenso.memory.stages import MARGINS, choose_dimensions
from zenso.zen import DocumentEmbeddings

WORDS = [
    "river",
    "bread",
    "engine",
    "violin",
    "winter",
    "lawyer",
    "garden",
    "planet",
    "copper",
    "letter",
    "tiger",
    "bridge",
    "sugar",
    "desert",
    "mirror",
]
QUERIES = ["a river in winter", "bread and sugar", "the planet of copper", "who plays the violin?"]
COUNT = 3_000
EXHAUSTIVE = SearchSettings(exhaustive_rows=10**9)
STAGED = SearchSettings(exhaustive_rows=0, prefix_rows=150, prefix_share=10, code_rows=60)


class NoisyEncoder:
    """Real embeddings of a few texts; the others are these with some bits of their codes flipped, as named."""

    def __init__(self, encoder):
        self._encoder = encoder
        self.provenance = encoder.provenance
        self.encode_query = encoder.encode_query
        self.splitting_tokenizer = encoder.splitting_tokenizer
        self.word_tokens = encoder.word_tokens

    def encode_documents(self, texts, on_progress=None):
        real = self._encoder.encode_documents([text.split(" #")[0] for text in texts])
        codes = real.codes.copy()
        for text, code in zip(texts, codes, strict=True):
            used = 48 + 16 * int(code[1])
            noise = np.random.default_rng(int(text.split(" #")[1])).integers(0, 256, (3, used), np.uint8)
            code[4 : 4 + used] ^= noise[0] & noise[1] & noise[2]
        return DocumentEmbeddings(real.vectors, codes, real.token_counts, real.token_sets)


def text_of(number):
    first, second = WORDS[number % 15], WORDS[number // 15 % 15]
    return f"the {first} and the {second} #{number}"


@pytest.fixture(scope="module")
def large(encoder, tmp_path_factory):
    """Three thousand documents in many segments and a tail."""
    folder = tmp_path_factory.mktemp("large") / "large.zenso"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zenso.memory.upkeep.SEGMENT_ROWS", 256)
        patch.setattr("zenso.memory.upkeep.CLOSING_ROWS", 10**9)
        with Memory.open(folder, encoder=NoisyEncoder(encoder)) as memory:
            for start in range(0, COUNT, 500):
                numbers = range(start, start + 500)
                memory.add(
                    [text_of(n) for n in numbers],
                    ids=[f"{n:05d}" for n in numbers],
                    metadata=[{"part": n % 10, "half": n % 2} for n in numbers],
                )
            yield memory


@pytest.fixture
def search(large):
    def run(query, k=10, settings=STAGED, **options):
        large.settings = settings
        return large.search(query, k, **{"hybrid": False, **options})

    return run


def same(found, wanted):
    return [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in wanted]


def recall(found, wanted):
    return len({hit.id for hit in found} & {hit.id for hit in wanted}) / len(wanted)


def test_stages_find_nearly_all_that_scoring_everything_finds(search):
    shares = [recall(search(query), search(query, settings=EXHAUSTIVE)) for query in QUERIES]
    assert np.mean(shares) >= 0.97


def test_what_is_found_has_the_score_that_scoring_everything_gives_it(search):
    every = {hit.id: hit.score for hit in search(QUERIES[0], COUNT, settings=EXHAUSTIVE)}
    assert len(every) == COUNT
    assert all(every[hit.id] == hit.score for hit in search(QUERIES[0]))


@pytest.mark.parametrize("query", QUERIES)
def test_a_scan_that_leaves_everything_changes_nothing(search, query):
    settings = dataclasses.replace(STAGED, prefix_rows=COUNT - 1, code_rows=COUNT)
    assert same(search(query, settings=settings), search(query, settings=EXHAUSTIVE))


@pytest.mark.parametrize("query", QUERIES[:2])
def test_threads_change_nothing(search, query, monkeypatch):
    monkeypatch.setattr("zenso.bitdelta.table._ROWS_A_THREAD", 100)
    monkeypatch.setattr("zenso.bitdelta.table._SCORES_A_THREAD", 16)
    wanted = search(query, settings=dataclasses.replace(STAGED, threads=1))
    for threads in (2, 5, None):
        assert same(search(query, settings=dataclasses.replace(STAGED, threads=threads)), wanted)


def test_filters_hold_in_every_stage(search):
    for where, left in (({"half": 1}, COUNT // 2), ({"part": 3}, COUNT // 10), ({"part": {"$gt": 99}}, 0)):
        hits = search(QUERIES[1], 10, where=where, explain=True)
        assert len(hits) == min(10, left)
        assert hits.explanation.stages[0].considered == left
        passed = {c.id for stage in hits.explanation.stages for c in stage.candidates}
        assert passed <= {hit.id for hit in search(QUERIES[1], COUNT, settings=EXHAUSTIVE, where=where)}
        assert {hit.metadata["part"] for hit in hits} <= ({3} if "part" in where else {1, 3, 5, 7, 9})


def test_more_hits_than_the_scan_would_leave(search):
    assert len(search(QUERIES[0], 1000)) == 1000
    assert same(search(QUERIES[0], COUNT), search(QUERIES[0], COUNT, settings=EXHAUSTIVE))


def test_an_explanation(search):
    hits = search(QUERIES[0], 5, explain=True)
    scan, prefix, codes = hits.explanation.stages
    assert (scan.name, scan.considered) == ("scan", COUNT)
    assert (prefix.name, prefix.considered) == ("prefix", len(scan.candidates))
    assert (codes.name, codes.considered) == ("codes", len(prefix.candidates))
    assert 300 <= len(scan.candidates) < 500
    assert 60 <= len(prefix.candidates) < 80
    assert [(c.id, c.score) for c in codes.candidates[:5]] == [(hit.id, hit.score) for hit in hits]
    passed = [{c.id for c in stage.candidates} for stage in hits.explanation.stages]
    assert passed[2] <= passed[1] <= passed[0]
    for stage in hits.explanation.stages:
        assert list(stage.candidates) == sorted(stage.candidates, key=lambda c: (-c.score, c.id))
        assert stage.seconds > 0


def test_an_explanation_of_a_hybrid_search(search):
    hits = search(QUERIES[0], 5, explain=True, hybrid=True)
    assert [stage.name for stage in hits.explanation.stages] == ["scan", "prefix", "codes", "words", "fused"]
    *_, words, fused = hits.explanation.stages
    assert words.considered == COUNT
    assert 0 < len(words.candidates) <= 100
    assert [(c.id, c.score) for c in fused.candidates[:5]] == [(hit.id, hit.score) for hit in hits]
    assert [words.candidates[0].score, fused.considered] == [1.0, len(fused.candidates)]


def test_no_explanation_unless_asked_for(search):
    hits = search(QUERIES[0])
    assert isinstance(hits, Hits)
    assert hits.explanation is None


def test_few_documents_are_not_scanned(search):
    hits = search(QUERIES[0], settings=SearchSettings(), explain=True)
    assert [(s.name, s.considered) for s in hits.explanation.stages] == [("codes", COUNT)]


def test_an_empty_memory_has_an_explanation_of_nothing(memory):
    assert memory.search("anything", explain=True) == []


def test_deleted_and_filtered_documents_never_appear(encoder, tmp_path, monkeypatch):
    """Half of what is deleted is what was found best just before; views are brought up to date after each."""
    monkeypatch.setattr("zenso.memory.upkeep.SEGMENT_ROWS", 128)
    chance = random.Random(1)
    with Memory.open(tmp_path / "memory", encoder=NoisyEncoder(encoder), settings=STAGED) as memory:
        numbers = range(1000)
        ids = [f"{n:05d}" for n in numbers]
        memory.add([text_of(n) for n in numbers], ids=ids, metadata=[{"part": n % 10} for n in numbers])
        memory.settings = dataclasses.replace(STAGED, prefix_rows=40)
        gone = set()
        for turn in range(200):
            query = QUERIES[turn % 4]
            victim = memory.search(query, 1, hybrid=False)[0].id if turn % 2 else chance.choice(ids)
            memory.delete(victim)
            gone.add(victim)
            part = chance.randrange(10)
            filtered = memory.search(query, 10, where={"part": part}, explain=True)
            everything = memory.search(query, 10, explain=True)
            assert len(filtered) == len(everything) == 10
            assert {hit.metadata["part"] for hit in filtered} == {part}
            for hits in (filtered, everything):
                assert not gone & {c.id for stage in hits.explanation.stages for c in stage.candidates}
        memory.delete(ids)
        assert memory.search(QUERIES[0], explain=True) == []


def test_the_order_of_adding_changes_nothing(encoder, tmp_path):
    """With many documents that tie, at the end of the scan as at the end of the hits."""
    numbers = list(range(120))
    found = []
    for seed in (1, 2, 3):
        random.Random(seed).shuffle(numbers)
        settings = SearchSettings(exhaustive_rows=0, prefix_rows=7, prefix_share=1000, code_rows=5)
        with Memory.open(tmp_path / str(seed), encoder=NoisyEncoder(encoder), settings=settings) as memory:
            memory.add([f"{text_of(n % 8)} " for n in numbers], ids=[f"{n:03d}" for n in numbers])
            found.append([(hit.id, hit.score) for query in QUERIES for hit in memory.search(query, 6, hybrid=False)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["exhaustive_rows", "prefix_rows", "prefix_share", "code_rows", "threads"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "many"])
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} is {value!r}"):
        SearchSettings(**{name: value})


@pytest.mark.parametrize("dimensions", [1920, 3840, 7680])
@pytest.mark.parametrize("settings", [EXHAUSTIVE, STAGED])
def test_fewer_dimensions_score_prefixes_of_codes(large, search, encoder, dimensions, settings):
    hits = search(QUERIES[0], 20, settings, dimensions=dimensions, explain=True)
    assert hits.explanation.dimensions == dimensions
    query = encoder.encode_query(QUERIES[0], large.frequencies).prepare()
    codes = NoisyEncoder(encoder).encode_documents([hit.text for hit in hits]).codes
    expected = query.similarity(score(query, prefix(codes, dimensions)))
    assert [hit.score for hit in hits] == expected.tolist()
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_auto_takes_what_it_chose(search):
    chosen = set()
    for query in QUERIES:
        hits = search(query, 10, dimensions="auto", explain=True)
        names = [stage.name for stage in hits.explanation.stages]
        assert names == ["scan", "prefix", "codes"]
        chosen.add(hits.explanation.dimensions)
        again = search(query, 10, dimensions=hits.explanation.dimensions)
        assert hits[0].score == again[0].score
    assert chosen <= set(DIMENSIONS)


@pytest.mark.parametrize("settings", [EXHAUSTIVE, STAGED])
@pytest.mark.parametrize("threads", [1, 3])
def test_auto_gives_the_same_with_any_number_of_threads(search, settings, threads):
    several = dataclasses.replace(settings, threads=threads)
    for query in QUERIES:
        assert same(search(query, 10, several, dimensions="auto"), search(query, 10, settings, dimensions="auto"))


def test_the_further_the_best_stands_out_the_fewer_dimensions():
    wide, narrow = MARGINS
    others = np.array([0.1, 0.2, 0.3])
    chosen = [choose_dimensions(np.append(others, 0.3 + margin)) for margin in (2 * wide, (wide + narrow) / 2, 0)]
    assert chosen == [1920, 3840, 7680]
    assert choose_dimensions(np.array([0.3])) == choose_dimensions(np.empty(0)) == 1920


@pytest.mark.parametrize("wrong", [0, 384, 7681, True, "many", None, 1920.5])
def test_other_dimensions_are_refused(search, wrong):
    with pytest.raises(InputError, match=r"choose one of 1920, 3840, 7680, or 'auto'"):
        search("a river", dimensions=wrong)


def test_hybrid_search_scores_words_with_the_same_dimensions(large):
    large.settings = EXHAUSTIVE
    alone = large.search("river bread", COUNT, hybrid=False, dimensions=1920)
    known = {hit.id: hit.similarity for hit in alone}
    both = large.search("river bread", 10, dimensions=1920)
    assert [hit.similarity for hit in both] == [known[hit.id] for hit in both]
