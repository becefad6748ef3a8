import numpy as np
import pytest

from zenso import robust


@pytest.fixture(scope="module")
def reports():
    """Nine honest parties that report nearly the same, and three that lie."""
    generator = np.random.default_rng(1)
    truth = generator.normal(size=32)
    honest = truth + 0.05 * generator.normal(size=(9, 32))
    return np.concatenate([honest, np.full((3, 32), 50.0)])


@pytest.mark.parametrize(
    "rule", ["median", "trimmed_mean", "geometric_median", "krum", "multi_krum", "centred_clipping"]
)
def test_each_rule_gives_what_the_library_gives(client, reports, rule):
    answer = client.post("/v1/aggregate", json={"vectors": reports.tolist(), "rule": rule, "f": 3}).json()
    expected = robust.aggregate(reports, rule, f=3)
    np.testing.assert_array_equal(answer["vector"], expected.vector)
    assert answer["selected"] == expected.selected.tolist()
    assert abs(np.array(answer["vector"])).max() < 10


def test_whole_numbers_are_combined_exactly_and_liars_are_seen(client, reports):
    rows = (reports * 100).astype(np.int16)
    body = {"vectors": rows.tolist(), "exact": True, "outliers": True, "weights": [2] * 9 + [1] * 3}
    answer = client.post("/v1/aggregate", json=body).json()
    assert answer["exact"]
    np.testing.assert_array_equal(answer["vector"], robust.aggregate(rows, weights=np.array(body["weights"])).vector)
    assert answer["outliers"]["flags"][9:] == [True] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"f": 6}, "n >= 2f + 1"),
        ({"vectors": [[1, 2], [1]]}, "vector 1 has 1 numbers and vector 0 has 2"),
        ({"exact": True}, "whole numbers"),
        ({"rule": "krum", "weights": [1] * 12, "f": 3}, "no weighted form"),
    ],
)
def test_what_cannot_be_is_refused(client, reports, change, said):
    answer = client.post("/v1/aggregate", json={"vectors": reports.tolist(), **change})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
