import json

import pytest

from bench.aggregated import ATTACKS, NODES, RULES
from bench.paraphrases import view
from tests.bench.test_quality import documented, run_bench
from tests.evaluation.small_set import write_set
from zenso import models

OTHER = "all-mpnet-base-v2"


@pytest.mark.skipif(models.locate(OTHER) is None, reason=f"{OTHER} is not in the cache (zenso models fetch {OTHER})")
def test_one_set(tmp_path):
    small, file = write_set(tmp_path / "small"), tmp_path / "aggregated.json"
    process = run_bench("aggregated", "--data", small, "--json", file)
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    attacked = {
        f"{rule}_{attack}_{share}_{key}"
        for rule in RULES
        for attack in ATTACKS
        for share in NODES
        for key in ("ndcg_at_10", "recall_at_10", "of_clean")
    }
    worst = {f"{rule}_worst_{share}_of_clean" for rule in RULES for share in NODES}
    fixed = documented("`aggregated`") | documented("Keys of every measurement")
    assert set(results) == attacked | worst | fixed
    assert results["clean_49_recall_at_10"] == 1
    assert results["mixed_median_sign_flip_49_of_clean"] == pytest.approx(1)
    assert results["krum_random_49_ndcg_at_10"] is None  # refused


def test_views_of_a_text_are_its_own_and_the_same_on_every_run():
    text = "Bread is made of flour, water and yeast. It has to rest, however. Then it is baked in many ways."
    views = [view(text, number) for number in range(23)]
    assert views[0] == text
    assert views == [view(text, number) for number in range(23)]
    assert len(set(views)) > 10
    assert all(view("word", number) == "word" for number in range(23))
