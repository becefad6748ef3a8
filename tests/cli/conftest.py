import subprocess
import sys

import pytest

from tests.cli.process import SCRIPT, Result, child_environment
from zenso.cli.app import main


@pytest.fixture
def place(tmp_path):
    """The folder where commands run."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
def zenso(place):
    """Run the installed command in an empty folder; a warning would be a user's problem, so it is an error."""

    def run(*arguments, code=0, stdin=None, environment=None, **options):
        given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(
            [SCRIPT, *map(str, arguments)],
            cwd=place,
            capture_output=True,
            timeout=120,
            env=child_environment(environment),
            check=False,
            **given,
            **options,
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert result.code == code, f"exit code {result.code}\n{result.out}\n{result.err}"
        assert "Traceback" not in result.err
        return result

    run.place = place
    return run


@pytest.fixture
def zenso_here(place, monkeypatch, capfd):
    """As ``zenso``, but in this process, whose numba and PyTorch are loaded once: for tests that run many commands."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("ZENSO_MEMORY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["zenso", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        result = Result(ended.value.code or 0, *capfd.readouterr())
        assert result.code == code, f"exit code {result.code}\n{result.out}\n{result.err}"
        return result

    run.place = place
    return run


@pytest.fixture(scope="session")
def notes(tmp_path_factory):
    """A memory of a few notes, made once; for tests that only search it."""
    folder = tmp_path_factory.mktemp("notes")
    (folder / "kitchen.md").write_text("# Bread\n\nBread needs flour, water, salt and time.\n")
    (folder / "garden.txt").write_text("Tomatoes want sun and a lot of water.\n")
    (folder / "books.csv").write_text("text,year,lang\nA whale hunt at sea,1851,en\nEin Zauberberg,1924,de\n")
    memory = folder / "notes.zenso"
    subprocess.run([SCRIPT, "index", folder, "-m", memory], check=True, capture_output=True, env=child_environment())
    return memory
