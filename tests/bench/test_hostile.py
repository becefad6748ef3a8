import json

import pytest

pytest.importorskip("multiaddr", reason="needs zenso[network]")

from tests.bench.test_quality import documented, run_bench
from tests.evaluation.small_set import write_set


def test_two_nodes_and_a_hostile_peer(tmp_path):
    small, file = write_set(tmp_path / "small"), tmp_path / "hostile.json"
    arguments = ("--nodes", 2, "--lessons", 4, "--attack", "stolen_code", "--share", 49, "--data", small)
    process = run_bench("hostile", "--quick", *arguments, "--json", file)
    assert process.returncode == 0, process.stderr
    results = json.loads(file.read_text("utf-8"))
    keys = documented("`hostile`") | documented("Keys of every measurement")
    of_attack = {key for key in keys if key.startswith("_")}
    names = {"random", "large_norm", "sign_flip", "alie", "inner_product"}
    names |= {"stolen_code", "near_duplicates", "spam", "flood", "sybil"}
    assert set(results) == keys - of_attack - names | {f"stolen_code_49{key}" for key in of_attack}
    assert (results["honest"], results["hostile_30"], results["hostile_49"]) == (2, None, 1)
    assert results["stolen_code_49_hostile_offered"] == 5
    assert results["stolen_code_49_hostile_held"] == 0
    assert results["stolen_code_49_honest_refused"] == results["stolen_code_49_honest_missing"] == 0
    assert results["stolen_code_49_honest_cut_off"] == 0
    assert results["stolen_code_49_recall_at_5_of_clean"] == 1
