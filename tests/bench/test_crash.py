"""``python -m bench crash``: kills, flipped bytes and full disks, and nothing acknowledged is lost."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.test_engines import documented

ROOT = Path(__file__).parents[2]
ROUNDS = 10


def test_nothing_is_lost(tmp_path):
    file = tmp_path / "crash.json"
    command = [sys.executable, "-m", "bench", "crash", "--rounds", str(ROUNDS), "--seed", "7", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    assert documented("`crash`") | documented("Keys of every measurement") == set(results)
    assert results["failures"] == 0, done.stderr
    wrong = ("not_opened", "checks_not_clean", "states_lost", "searches_wrong", "embeddings_wrong", "snapshots_wrong")
    assert [results[key] for key in wrong] == [0] * len(wrong)
    kills = [value for key, value in results.items() if key.startswith("killed_")]
    assert sum(kills) == results["rounds"] == ROUNDS
    assert results["operations_done"] > ROUNDS
    assert results["segment_flips"] == results["segment_flips_detected"] == results["segment_flips_rebuilt"] > 0
    said, without_effect = results["database_flips_said"], results["database_flips_without_effect"]
    assert results["database_flips"] == said + without_effect
    assert said > 0
    assert results["database_flips_missed"] == 0
    assert results["full_disk_refusals"] > 0
