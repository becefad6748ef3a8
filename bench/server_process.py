"""Servers as processes: started, waited for, watched and ended."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zenso.errors import InputError

_START = "import sys; from zenso.cli.app import main; sys.exit(main())"
_STARTING_SECONDS = 300.0
_KEPT_OUTPUT = 2000  # characters of what a server printed that an error repeats


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def zenso_command(port: int, *arguments: str) -> list[str]:
    """Return the command that serves with the code of this process."""
    return [sys.executable, "-c", _START, "serve", "--port", str(port), *arguments]


class ServerProcess:
    """A server, from its first answer to ``GET /health`` until it is closed.

    Parameters
    ----------
    command : sequence of str
    port : int
        Of 127.0.0.1, which the command makes it listen on.
    folder : Path
        Where it runs.
    environment : mapping, optional
        Variables besides those of this process.

    Raises
    ------
    InputError
        It cannot be started, or ends before it answers.
    """

    host = "127.0.0.1"

    def __init__(
        self, command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._printed = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # closed with the process
        try:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            self._printed.close()
            raise InputError(f"{command[0]} cannot be started ({error.strerror}); give another interpreter") from error
        began = time.monotonic()
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - began > _STARTING_SECONDS:
                message = f"{Path(command[0]).name} served nothing and ended with status {self.process.poll()}"
                printed = self.printed()
                self.close()
                raise InputError(f"{message}; it printed: {printed}")
            time.sleep(0.05)

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  # JSON
        """Send one request and return the answer.

        Raises
        ------
        InputError
            The answer is of another status than 200.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=300)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        if answer.status != 200:
            raise InputError(f"{method} {path} is answered with {answer.status}: {text[:_KEPT_OUTPUT]}")
        return json.loads(text)

    def printed(self) -> str:
        """Return the end of what it has printed."""
        self._printed.seek(0)
        return self._printed.read()[-_KEPT_OUTPUT:].strip()

    def processor_seconds(self) -> float:
        """Return the processor time that all its threads have taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Return the memory that it occupies now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """End it as a power failure would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it: politely, then not."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
        self._printed.close()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False
