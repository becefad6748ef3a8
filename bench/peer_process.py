"""A peer that runs in a process of another environment, because PyTorch has no place in this one."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from zenso.errors import InputError

# Threads are asked for with each request, not by the environment; and nothing is fetched.
_THREAD_SETTINGS = ("OMP_", "MKL_", "GOMP_", "KMP_")
_SETTINGS = {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}


class PeerProcess:
    """A script run by another Python until it is closed; requests and answers are lines of JSON.

    Parameters
    ----------
    python : Path
        Interpreter of an environment that has the package.
    script : Path
    arguments : str
        Of the script.
    package : str
        What the environment has; the command line's option of that name gave the interpreter.

    Raises
    ------
    InputError
        The interpreter cannot be started.
    """

    def __init__(self, python: Path, script: Path, *arguments: str, package: str = "sentence-transformers") -> None:
        self._called = f"--{package} {python}"
        self._remedy = f"give the Python of an environment that has {package} (bench/README.md says how to make one)"
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_THREAD_SETTINGS)}
        # -I: neither this folder's modules nor this environment's settings reach the other one.
        command = [str(python), "-I", str(script), *arguments]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                env={**kept, **_SETTINGS},
                text=True,
            )
        except OSError as error:
            self._printed.close()
            message = f"{self._called} cannot be started ({error.strerror}); {self._remedy}"
            raise InputError(message) from error

    def ask(self, request: object) -> Any:  # noqa: ANN401  # JSON
        """Send a request and return the answer.

        Raises
        ------
        InputError
            The process has ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: there is no answer either
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._printed.seek(0)
            last = self._printed.read().strip().splitlines()[-1:] or ["it printed nothing"]
            message = f"{self._called} ended with status {self._process.returncode}: {last[0]}"
            raise InputError(f"{message}; {self._remedy}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._printed.close()
