"""``python -m bench concurrency``: searches are of one state, and every key is documented."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.test_engines import documented

ROOT = Path(__file__).parents[2]


def test_every_search_is_of_one_state(tmp_path):
    file = tmp_path / "concurrency.json"
    command = [sys.executable, "-m", "bench", "concurrency", "--quick", "--readers", "2", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    assert documented("`concurrency`") | documented("Keys of every measurement") == set(results)
    assert (results["readers"], results["documents"], results["rounds"]) == (2, 100, 10)
    assert results["searches_of_mixed_states"] == 0
    assert results["searches"] >= 20
    assert 0 <= results["seen_after_ms_median"] <= results["seen_after_ms_p99"] <= results["seen_after_ms_longest"]
