import json
import sqlite3
from contextlib import closing

import pytest
import typer
from typer.testing import CliRunner

import zenso
from zenso.cli.verify import verify
from zenso.memory.database import FILE_NAME

app = typer.Typer()
app.command()(verify)


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify") / "notes.zenso"
    with zenso.open(folder) as memory:
        memory.add(["Bread needs flour.", "Tomatoes want sun.", "A whale hunt at sea."], ids=["a", "b", "c\x1b[31m"])
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_clean_then_a_fault(notes):
    result = run("-m", notes)
    assert result.exit_code == 0, result.output
    assert "3 of 3 checked" in result.stdout
    assert result.stdout.rstrip().endswith("no mismatch")
    with closing(sqlite3.connect(notes / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE texts SET text = 'changed' WHERE seq = 3")
    result = run("-m", notes)
    assert result.exit_code == 1
    assert result.stdout.startswith("'c\\x1b[31m': text changed: ")
    assert "1 text changed" in result.stdout
    found = run("-m", notes, "--json")
    assert found.exit_code == 1
    report = json.loads(found.stdout)
    assert (report["ok"], report["causes"], report["checked"]) == (False, {"text changed": 1}, 3)
    assert report["mismatches"][0]["id"] == "c\x1b[31m"
    assert report["mismatches"][0]["cause"] == "text changed"


def test_a_sample_says_how_certain_it_is(notes):
    result = run("-m", notes, "--sample", "1", "--loss", "0.3")
    assert "1 of 3 checked" in result.stdout
    assert "33.333 % certainty" in result.stdout


def test_errors_are_one_line(notes, tmp_path):
    for arguments in (["-m", tmp_path / "none"], ["-m", notes, "--sample", "1", "--certainty", ".9"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
