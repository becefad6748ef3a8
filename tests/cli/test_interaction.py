"""The command as a person meets it: on a terminal, with Ctrl-C, and with a mind of their own about colours."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from tests.cli.process import SCRIPT, child_environment

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def _heed_interrupts():
    """Undo what a shell does to what it starts in the background, where these tests may run."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A process on a terminal of its own: type to it, and wait for what it shows."""

    def __init__(self, place, *arguments, environment=None):
        self._leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [SCRIPT, *map(str, arguments)],
            cwd=place,
            env=child_environment({"TERM": "xterm-256color", **(environment or {})}),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no threads are running here
        )
        os.close(follower)
        self.raw = ""

    @property
    def screen(self):
        return _CONTROL.sub("", self.raw)

    def type(self, text):
        os.write(self._leader, text.encode())

    def wait_for(self, text, count=1):
        deadline = time.monotonic() + 90
        while self.screen.count(text) < count and self._read(deadline):
            pass
        assert self.screen.count(text) >= count, self.screen

    def wait(self):
        deadline = time.monotonic() + 90
        while self._read(deadline):
            pass
        os.close(self._leader)
        return self.process.wait(timeout=60)

    def interrupt(self):
        """Press Ctrl-C, and again where nothing happens: input() misses one in the moment it begins to wait."""
        for _ in range(5):
            self.process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                if self._is_readable(0.1) and not self._read(deadline):
                    return self.process.wait(timeout=60)
        raise AssertionError(self.screen)

    def _is_readable(self, seconds):
        return bool(select.select([self._leader], [], [], seconds)[0])

    def _read(self, deadline):
        assert self._is_readable(max(deadline - time.monotonic(), 0)), f"nothing more than: {self.screen}"
        try:
            piece = os.read(self._leader, 4096)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.raw += piece.decode("utf-8", "replace")
        return bool(piece)


@pytest.fixture
def terminal(tmp_path):
    started = []
    # Whatever a shell runs in the background ignores Ctrl-C, and its children do too; those here are not to.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(*arguments, **options):
        started.append(Terminal(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
    signal.signal(signal.SIGINT, before)


def test_the_demo_answers_while_it_indexes(terminal):
    demo = terminal("demo", "-m", "demo", "--modules", "json,shutil,argparse,textwrap,string,csv,random")
    demo.wait_for("query> ")
    demo.type("write an object as JSON\n")
    demo.wait_for(" ms over ")
    assert "\n1. json" in demo.screen
    assert "\x1b[1;33mobject" in demo.raw
    demo.type(" \n")
    assert demo.wait() == 0
    assert "Traceback" not in demo.screen


def test_ctrl_c_ends_the_demo(terminal, zenso):
    demo = terminal("demo", "-m", zenso.place / "demo", "--modules", "shutil,argparse,unittest.mock,tkinter")
    demo.wait_for("query> ")
    demo.type("copy\n")  # is answered when the first modules are indexed
    demo.wait_for(" ms over ")
    demo.wait_for("query> ", count=2)
    assert demo.interrupt() == 130
    assert demo.screen.rstrip().endswith("interrupted")
    assert "Traceback" not in demo.screen


def test_ctrl_c_ends_indexing_and_the_memory_opens(terminal, tmp_path, zenso):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number:03}.txt").write_text(f"Bees visit flower number {number}. " * 30)
    indexing = terminal("index", folder, "-m", zenso.place / "m.zenso")
    indexing.wait_for(" of 400 files")
    assert indexing.interrupt() == 130
    assert "interrupted" in indexing.screen
    assert "Traceback" not in indexing.screen
    assert zenso("search", "bees", "-m", zenso.place / "m.zenso", "--json").json["query"] == "bees"


def test_no_colours_where_they_are_not_wanted(terminal, notes):
    plain = terminal("search", "bread", "-m", notes, environment={"NO_COLOR": "1"})
    assert plain.wait() == 0
    assert "Bread needs flour" in plain.screen
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain.raw)


def test_a_table_of_findings(terminal):
    doctor = terminal("doctor")
    assert doctor.wait() == 0
    assert "\x1b[32mok" in doctor.raw
    assert "Zenso" in doctor.screen
