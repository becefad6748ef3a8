"""Real servers, each a process of its own."""

import contextlib
import queue
import subprocess
import threading
import time

import httpx
import pytest

import zenso
from tests.cli.process import SCRIPT, child_environment

TEXTS = {
    "bread": "Bread needs flour, water, salt and time.",
    "tomatoes": "Tomatoes want sun and a lot of water.",
    "whale": "A whale hunt at sea ends badly for the ship and its captain.",
    "paris": "Paris is the capital of France.",
    "dates": "datetime.strptime parses a date from a string.",
}


class ServerProcess:
    """`zenso serve`, or another command that serves, on a free port."""

    def __init__(self, place, *arguments, command=("serve",), environment=None):
        self.place = place
        self.process = subprocess.Popen(
            [SCRIPT, *command, "--port", "0", *map(str, arguments)],
            cwd=place,
            env=child_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self._wait_for_address()

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _wait_for_address(self):
        deadline = time.monotonic() + 120
        while (line := self._lines.get(timeout=max(deadline - time.monotonic(), 0.1))) is not None:
            if line.startswith("serving "):
                return line.rsplit(" on ", 1)[1].strip()
        self.kill()
        raise AssertionError("the server ended: " + "".join(self.log))

    def client(self, key=None, **options):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, timeout=120, headers=headers, **options)

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=60)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()


@pytest.fixture(scope="session")
def start_server():
    """Start servers; all of them end with the tests."""
    with contextlib.ExitStack() as stack:

        def start(place, *arguments, **options):
            server = ServerProcess(place, *arguments, **options)
            stack.callback(server.kill)
            return server

        yield start


@pytest.fixture(scope="session")
def texts():
    return dict(TEXTS)


@pytest.fixture(scope="session")
def server(start_server, tmp_path_factory):
    """A server of one memory, ``notes``, with a few texts; tests leave its documents as they are."""
    return _server_of_notes(start_server, tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="session")
def lively_server(start_server, tmp_path_factory):
    """Another one, for tests that change documents."""
    return _server_of_notes(start_server, tmp_path_factory.mktemp("lively"))


def _server_of_notes(start_server, place):
    with zenso.open(place / "notes.zenso") as memory:
        memory.add(list(TEXTS.values()), ids=list(TEXTS), metadata=[{"letters": len(text)} for text in TEXTS.values()])
    return start_server(place, place / "notes.zenso")


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client
