"""Nodes as processes of their own: started, asked, watched, stopped and killed."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from zenso.errors import InputError
from zenso.network.control import ask
from zenso.network.dag_cbor import cid_text
from zenso.network.folder import create_folder, read_folder

T = TypeVar("T")
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
_START = "import sys; from zenso.cli.app import main; sys.exit(main())"
_NEIGHBOURS = 3  # whom each node of a network dials
_STOPPING_SECONDS = 30.0
_KEPT_OUTPUT = 2000  # characters of what a node printed that an error repeats


class NodeProcess:
    """`zenso node start` with the code of this process, from when it listens until it is stopped or killed.

    Parameters
    ----------
    folder : Path
        Where the node is made; its parent has to exist.
    peers : sequence of str
        Addresses that it stays connected with.
    domains : sequence of str
        Those that it follows.
    listen : str
        Its address; port 0 is any that is free.
    limits : mapping, optional
        Of ``[limits]`` in `node.toml`.
    prefix : sequence of str
        What stands before the command, such as ``ip netns exec NAME``.
    environment : mapping, optional
        Variables besides those of this process.
    started : bool
        Whether it is started at once; else ``peer`` and ``folder`` are there already.

    Raises
    ------
    InputError
        It ends before it listens.
    """

    def __init__(
        self,
        folder: Path,
        peers: Sequence[str] = (),
        *,
        domains: Sequence[str] = ("general",),
        listen: str = LOOPBACK,
        limits: Mapping[str, float] | None = None,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        started: bool = True,
    ) -> None:
        self.folder = folder
        self._prefix, self._environment = prefix, {**os.environ, **(environment or {})}
        create_folder(folder, {"listen": [listen], "peers": list(peers), "domains": list(domains)})
        if limits:
            with (folder / "node.toml").open("a") as file:
                file.write("\n[limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
        made = read_folder(folder)
        self.peer, self.records_path = made.peer, made.records_path
        if started:
            self.start()

    def start(self) -> None:
        """Start it, also again, and wait until it listens."""
        self._printed = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [*self._prefix, sys.executable, "-c", _START, "node", "start", str(self.folder), "--json"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            message = f"a node ended with status {self.process.wait()}: {self.printed[-_KEPT_OUTPUT:]}"
            self._close()
            raise InputError(message)
        self.address: str = json.loads(line)["addresses"][0]

    def ask(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Ask it what `zenso node` asks."""
        return ask(self.folder, command, **arguments)

    def status(self) -> dict[str, Any]:
        """Return what `zenso node status` shows."""
        status: dict[str, Any] = self.ask("status")
        return status

    def digest(self, domain: str = "general") -> str:
        """Return the digest of a domain's records, equal on nodes that hold the same."""
        return str(self.status()["domains"][domain]["digest"])

    def count(self) -> int:
        """Return how many records it holds, without asking it."""
        return int(self._select("SELECT count(*) FROM records")[0][0])

    def ids(self) -> set[str]:
        """Return the ids of the records that it holds, without asking it."""
        return {cid_text(found) for (found,) in self._select("SELECT id FROM records")}

    def _select(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.records_path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    @property
    def printed(self) -> str:
        """What it wrote to its standard error since it was started."""
        self._printed.seek(0)
        return self._printed.read()

    @property
    def processor_seconds(self) -> float:
        """Seconds of processor that it has used since it was started."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory_mb(self) -> float:
        """Memory that it holds now in MB (10^6 bytes): its own and what it shares."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def stop(self) -> int:
        """Ask it to end; return its exit status. One that does not is killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(_STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise InputError(f"a node still ran {_STOPPING_SECONDS:g} s after it was asked to end") from None
        self._close()
        return code

    def kill(self) -> None:
        """End it at once, by SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._close()

    def close(self) -> None:
        """Make sure that it has ended."""
        if self.runs:
            with contextlib.suppress(InputError):
                self.stop()

    def _close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._printed.close()


@contextmanager
def node_network(count: int, domain: str, limits: Mapping[str, float] | None = None) -> Iterator[list[NodeProcess]]:
    """Start nodes on loopback that follow a domain, each connected with up to three of those before it."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        nodes: list[NodeProcess] = []
        for number in range(count):
            peers = [node.address for node in nodes[-_NEIGHBOURS:]]
            nodes.append(NodeProcess(Path(name) / str(number), peers, domains=[domain], limits=limits))
            stack.callback(nodes[-1].close)
        eventually(lambda: all(node.status()["peers"] for node in nodes))
        yield nodes


def eventually(condition: Callable[[], T], seconds: float = 60, wait: float = 0.05) -> T:
    """Wait until a condition holds; return what it gave.

    Raises
    ------
    InputError
        It did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise InputError(f"what was waited for did not come about in {seconds:g} s")
        time.sleep(wait)
    return found
