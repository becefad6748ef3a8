"""``python -m bench soak``: a killed server loses nothing, and a lost write is noticed."""

import json
import subprocess
import sys
from pathlib import Path

from bench.soak import judge
from tests.bench.test_engines import documented
from zenso.memory import Memory

ROOT = Path(__file__).parents[2]


def test_nothing_is_lost_and_every_answer_makes_sense(tmp_path):
    (tmp_path / "corpus.jsonl").write_text(
        json.dumps({"_id": "a", "text": "A ship at sea needs water and salt."}) + "\n"
    )
    file = tmp_path / "soak.json"
    command = [sys.executable, "-m", "bench", "soak", "--quick", "--data", str(tmp_path), "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text())
    assert documented("`soak`") | documented("Keys of every measurement") == set(results)
    assert results["failures"] == 0, done.stderr
    assert results["alive_at_end"]
    assert results["acknowledged_writes"] == results["adds"] + results["deletes"] > 0
    assert min(results["embeds"], results["searches"], results["documents"]) > 0


def test_a_lost_write_an_undone_delete_and_a_changed_text_are_noticed(tmp_path):
    journal = [
        {"event": "begin", "client": "a", "texts": {"kept": "one text", "lost": "another"}},
        {"event": "done", "client": "a"},
        {"event": "begin", "client": "b", "texts": {"undone": "a third"}},
        {"event": "done", "client": "b"},
        {"event": "begin", "client": "b", "texts": {"undone": None}},
        {"event": "done", "client": "b"},
        {"event": "begin", "client": "a", "texts": {"kept": "a new text"}},
        {"event": "refused", "client": "a"},
        {"event": "begin", "client": "a", "texts": {"open": "done or not"}},
        {"event": "unanswered", "client": "a"},
    ]
    with Memory.open(tmp_path / "memory") as memory:
        memory.add(["one text", "a third", "what nobody sent"], ids=["kept", "undone", "strange"])
    judged = judge(tmp_path / "memory", journal)
    assert (judged["lost"], judged["resurrected"], judged["changed"]) == (1, 1, 1)
    assert judged["details"] == ["lost: lost", "undone: undone", "changed: strange"]
    assert (judged["acknowledged"], judged["open"], judged["findings"]) == (3, 1, 0)
    with Memory.open(tmp_path / "memory") as memory:
        memory.add(["another", "done or not"], ids=["lost", "open"])
        memory.delete(["undone", "strange"])
    assert judge(tmp_path / "memory", journal)["details"] == []
