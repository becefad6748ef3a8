"""``python -m bench server``: a server is asked by another process, and every key is documented."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.test_engines import documented

ROOT = Path(__file__).parents[2]
DATA = ROOT / "../shared/data"


@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
def test_requests_are_counted_and_timed(tmp_path):
    file = tmp_path / "server.json"
    command = [sys.executable, "-m", "bench", "server", "--quick", "--rows", "single,search", "--data", str(DATA)]
    done = subprocess.run(
        [*command, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    assert documented("`server`") | documented("Keys of every measurement") == set(results)
    assert results["documents"] == 1000
    for row in ("single", "search"):
        for connections in (1, 8, 64):
            assert results[f"{row}_{connections}_rps"] > 0
            assert 0 < results[f"{row}_{connections}_p50_ms"] <= results[f"{row}_{connections}_p99_ms"]
    assert results["batch_1_rps"] is None
    assert results["peer_single_1_rps"] is None
    assert "infinity-emb is left out" in done.stderr
