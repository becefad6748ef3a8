import json

import pytest

from tests.bench.test_quality import documented, run_bench
from tests.evaluation.small_set import write_set
from zenso import models

OTHER = "all-mpnet-base-v2"
needs_other = pytest.mark.skipif(
    models.locate(OTHER) is None, reason=f"{OTHER} is not in the cache (zenso models fetch {OTHER})"
)


@needs_other
def test_one_set(tmp_path):
    small, file = write_set(tmp_path / "small"), tmp_path / "cross_model.json"
    arguments = ("cross_model", "--data", small, "--cache", tmp_path / "cache", "--json", file)
    process = run_bench(*arguments)
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    assert set(results) == documented("`cross_model`") | documented("Keys of every measurement")
    assert (results["dataset"], results["documents"], results["queries"]) == ("small", 5, 4)
    for ranking in ("native_pooled", "native_codes", "other_pooled", "aligned_pooled", "aligned_codes"):
        assert results[f"{ranking}_recall_at_5"] == 1
        assert 0.5 < results[f"{ranking}_ndcg_at_10_low"] <= results[f"{ranking}_ndcg_at_10"]
        assert results[f"{ranking}_ndcg_at_10"] <= results[f"{ranking}_ndcg_at_10_high"] <= 1
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert run_bench(*arguments).returncode == 0  # from the cache
    again = json.loads(file.read_text("utf-8"))
    assert {**again, "date": ""} == {**results, "date": ""}


@needs_other
def test_several_sets_without_the_other_models_documents(tmp_path):
    sets = [write_set(tmp_path / name) for name in ("one", "two")]
    file = tmp_path / "cross_model.json"
    process = run_bench(
        "cross_model", "--quick", "--no-same-model", "--data", sets[0], "--data", sets[1], "--json", file
    )
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    shared = {"dataset", "model", "other_model", "aligner_digest"}
    measured = documented("`cross_model`") - shared
    expected = {f"{name}_{key}" for name in ("one", "two") for key in measured} | shared
    expected |= {f"average_{key}" for key in measured - {"documents", "queries"}}
    assert set(results) == expected | documented("Keys of every measurement")
    assert results["average_other_pooled_recall_at_5"] is None
    assert results["average_aligned_codes_recall_at_5"] == results["one_aligned_codes_recall_at_5"] == 1
