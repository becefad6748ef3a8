"""``python -m bench network`` and ``network_soak`` with real nodes, as quickly as they go."""

import json

import pytest

pytest.importorskip("multiaddr", reason="needs zenso[network]")

from tests.bench.test_quality import documented, run_bench

WORDS = (
    "bread",
    "water",
    "ship",
    "garden",
    "engine",
    "river",
    "winter",
    "letter",
    "music",
    "stone",
    "harbour",
    "candle",
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Sentences that have little in common."""
    folder = tmp_path_factory.mktemp("texts")
    sentences = [f"{one} {other} and nothing else but {one} was there" for one in WORDS for other in WORDS]
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "a", "text": ". ".join(sentences)}) + "\n")
    return folder


def run(name, tmp_path, *options):
    file = tmp_path / "results.json"
    done = run_bench(name, "--quick", "--json", file, *options)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    assert documented(f"`{name}`") | documented("Keys of every measurement") == set(results)
    return results


def test_records_reach_all_nodes_and_one_that_was_away(tmp_path, texts):
    options = ["--nodes", 2, "--spread", 4, "--sustained", 12, "--missed", 12, "--data", texts]
    results = run("network", tmp_path, *options)
    assert results["nodes_agree"]
    assert results["refused"] == 0
    assert results["sustained_records_per_s"] > 0


def test_nodes_under_load_lose_nothing_and_agree(tmp_path, texts):
    results = run("network_soak", tmp_path, "--nodes", 2, "--minutes", 0.15, "--data", texts)
    assert results["acknowledged_lost"] == results["records_missing"] == results["transport_restarts"] == 0
    assert results["kills"] == 1
    assert results["lessons"] > 0
