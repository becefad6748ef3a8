import json

from bench.attacks import ATTACKS
from tests.bench.test_quality import documented, run_bench
from zenso.robust import RULES


def test_a_quick_run(tmp_path):
    file = tmp_path / "robust.json"
    process = run_bench("robust", "--quick", "--json", file)
    assert process.returncode == 0, process.stderr
    assert "ByzFL is left out: no --byzfl" in process.stderr
    results = json.loads(file.read_text("utf-8"))
    attacked = {key for key in results if key.endswith(("_error", "_seen", "_false"))}
    assert set(results) - attacked == documented("`robust`") | documented("Keys of every measurement")
    mixed = [f"mixed_{rule}" for rule in RULES if rule != "mean"]
    assert attacked == {
        *(f"{rule}_{attack}_{share}_error" for rule in (*RULES, *mixed) for attack in ATTACKS for share in (30, 49)),
        *(
            f"mixed_{r}_{attack}_{share}_error"
            for r in RULES
            if r != "mean"
            for attack in ATTACKS
            for share in (30, 49)
        ),
        *(f"outliers_{attack}_{share}_{k}" for attack in ATTACKS for share in (30, 49) for k in ("seen", "false")),
    }
    assert results["median_ms"] > 0
    assert results["median_byzfl_numpy_ms"] is None
    assert results["mean_large_norm_30_error"] > 1e5
    assert all(results[f"{rule}_large_norm_30_error"] < 3 for rule in RULES if rule != "mean")


def test_a_python_that_is_none(tmp_path):
    process = run_bench("robust", "--quick", "--json", tmp_path / "r.json", "--byzfl", tmp_path / "python")
    assert process.returncode == 1
    assert "--byzfl" in process.stderr
    assert "cannot be started" in process.stderr
