import json

import pytest
import typer
from typer.testing import CliRunner

from tests.evaluation.small_set import write_set
from zenso.cli.evaluate import evaluate

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def small(tmp_path):
    return write_set(tmp_path / "small")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_table_and_a_report(zenso, small):
    done = zenso("evaluate", small, "--report", "out", "--ranking", "codes", "--ranking", "hybrid")
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["pooled", "codes", "hybrid"]
    assert "points above pooled" in done.out
    assert lines[5] == "small: 5 documents, 4 queries"
    assert "note: documents without text, left out: 1" in done.err
    assert "report: out/report.html" in done.err
    assert (zenso.place / "out" / "report.html").stat().st_size > 10_000


def test_json(small):
    result = run(small, "--json", "--ranking", "codes", "--baseline", "bm25", "--queries", 2)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["dataset"], found["queries"], found["baseline"], found["report"]) == ("small", 2, "bm25", [])
    assert list(found["rankings"]) == ["bm25", "codes"]
    assert found["rankings"]["codes"]["ndcg_at_10"] == 1


def test_errors_are_one_line(small, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    (small / "queries.jsonl").rename(tmp_path / "queries.jsonl")
    for arguments, message in (
        ([small], "small has no queries.jsonl; the BEIR layout is"),
        ([tmp_path / "none"], "none is not there; give a folder"),
        ([small, "--ranking", "bert"], "no ranking is called 'bert'"),
        ([small, "--report", file], "file is a file; give a folder"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert message in result.stderr
