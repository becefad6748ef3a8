import json

import numpy as np
import pytest

from tests.evaluation.small_set import write_set
from zenso.errors import InputError
from zenso.evaluation import RANKINGS, evaluate
from zenso.evaluation.rankings import rank
from zenso.zen import load_encoder


def test_every_ranking_is_measured_and_compared(evaluation):
    assert list(evaluation.rankings) == list(RANKINGS)
    assert list(evaluation.comparisons) == [name for name in RANKINGS if name != "pooled"]
    for name, one in evaluation.rankings.items():
        assert one.milliseconds > 0
        assert 0 <= one.low <= one.mean("ndcg_at_10") <= one.high <= 1
        assert one.mean("recall_at_1") <= one.mean("recall_at_10") <= one.mean("recall_at_100")
        if name not in ("bm25", "hybrid"):  # these texts and questions hardly share a word
            assert one.mean("ndcg_at_10") == one.mean("mrr_at_10") == 1


def test_a_comparison_is_of_the_same_queries(evaluation):
    found = evaluation.comparisons["bm25"]
    values = [evaluation.rankings[name].values["ndcg_at_10"] for name in ("bm25", "pooled")]
    assert found.differences.tolist() == (values[0] - values[1]).tolist()
    assert found.low <= found.mean <= found.high
    assert found.better == 0
    assert found.worse == np.count_nonzero(values[0] < 1)
    assert evaluation.comparisons["codes"].p_value == 1


def test_json_holds_plain_types(evaluation):
    plain = json.loads(json.dumps(evaluation.to_json()))
    assert (plain["documents"], plain["empty_documents"], plain["queries"], plain["unknown_answers"]) == (5, 1, 4, 0)
    assert plain["baseline"] == "pooled"
    assert plain["rankings"]["codes"]["recall"]["1"] == 1
    assert "over_baseline" not in plain["rankings"]["pooled"]
    assert plain["rankings"]["codes"]["over_baseline"]["mean"] == 0


def test_progress_reaches_the_end_of_every_stage(evaluation, stages):
    assert {"embed documents", "pooled", "hybrid", "rerank from text", "time reranking"} <= set(stages)
    assert all(done == total for done, total in stages.values())


def test_only_what_is_asked_for_and_the_baseline(tmp_path):
    folder = write_set(tmp_path / "small")
    found = evaluate(folder, rankings=["codes", "codes"], baseline="bm25", queries=2)
    assert list(found.rankings) == ["bm25", "codes"]
    assert list(found.comparisons) == ["codes"]
    assert found.data.query_ids == ["q1", "q3"]


def test_what_makes_no_sense_is_refused_before_anything_is_embedded(tmp_path):
    folder = write_set(tmp_path / "small")

    def never():
        raise AssertionError

    for arguments, message in (
        ({"rankings": ["bert"]}, "no ranking is called 'bert'; choose among pooled, codes"),
        ({"baseline": ""}, "no ranking is called ''"),
        ({"queries": 0}, "queries is 0; give at least 1"),
        ({"reranks_timed": 0}, "reranks_timed is 0"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(folder, encoder=never, **arguments)
    with pytest.raises(InputError, match="the BEIR layout is"):
        evaluate(tmp_path, encoder=never)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("zenso.evaluation.evaluation._EXTRA", ("scipy", "no_such_package"))
    with pytest.raises(InputError, match=r"needs no_such_package; install it with: pip install 'zenso\[evaluate\]'"):
        evaluate(write_set(tmp_path / "small"))


def test_reranking_without_its_candidates_being_asked_for(evaluation):
    found = rank(load_encoder(), evaluation.data, ["rerank"], reranks_timed=1)
    assert list(found) == ["rerank"]
    assert [rows[0] for rows in found["rerank"].rows] == [0, 1, 2, 3]
