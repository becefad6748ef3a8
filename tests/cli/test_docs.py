"""Every command is documented, has help and prints JSON."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from zenso import __version__
from zenso.cli.app import app

ROOT = Path(__file__).parents[2]


def commands(group=None, path=()):
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_has_help_json_and_a_place_in_the_docs(path):
    command = COMMANDS[path]
    assert command.help
    if path != ("mcp",):  # it speaks nothing but JSON
        assert "--json" in {option for parameter in command.params for option in parameter.opts}
    for parameter in command.params:
        assert getattr(parameter, "help", None) or parameter.hidden, parameter.name
    assert f"`zenso {' '.join(path)}`" in (ROOT / "docs/cli.md").read_text("utf-8")


def test_the_documentation_is_current():
    script = ROOT / "scripts/write_cli_docs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_version_and_wrong_usage(zenso):
    assert zenso("--version").out.split()[-1] == __version__
    assert zenso("search", code=2).err
    assert zenso("no-such-command", code=2).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(zenso, shell):
    words = {"COMP_WORDS": "zenso re", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "zenso re"}
    done = zenso(
        environment={"_ZENSO_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args", **words}
    )
    assert "rerank" in done.out
    assert "search" not in done.out
