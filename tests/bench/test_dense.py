import json

import pytest

from tests.bench.test_quality import documented, run_bench
from tests.evaluation.small_set import write_set


def test_two_sets(tmp_path):
    sets = [write_set(tmp_path / name) for name in ("small", "other")]
    file = tmp_path / "dense.json"
    process = run_bench("dense", *(part for folder in sets for part in ("--data", folder)), "--json", file)
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    measured = documented("`dense`") - {"dataset", "provenance"}
    averaged = {f"average_{key}" for key in measured if key.startswith("dense_")}
    of_sets = {f"{name}_{key}" for name in ("small", "other") for key in measured}
    expected = {"dataset", "provenance"} | averaged | of_sets
    assert set(results) == expected | documented("Keys of every measurement")
    for key in averaged:
        assert results[key] == pytest.approx(results[f"small_{key.removeprefix('average_')}"])
        assert results[key] > 0.9
