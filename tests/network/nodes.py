"""Nodes as processes of their own, on free ports of this machine."""

import json
import subprocess
import threading
import time

from tests.cli.process import SCRIPT, child_environment
from zenso.network.control import ask
from zenso.network.folder import create_folder

# libp2p imports a module of websockets that is deprecated.
ENVIRONMENT = {"PYTHONWARNINGS": "error,ignore::DeprecationWarning"}
LIMITS = {"step_seconds": 1, "sync_seconds": 0.5, "exchange_bytes": 2**20, "ban_seconds": 60}


class NodeProcess:
    """`zenso node start`, from its first address until it is stopped or killed."""

    def __init__(self, folder, peers=(), **limits):
        self.folder = folder
        create_folder(folder, {"listen": ["/ip4/127.0.0.1/tcp/0"], "peers": list(peers)})
        with (folder / "node.toml").open("a") as file:
            file.write("\n[limits]\n" + "".join(f"{name} = {value}\n" for name, value in {**LIMITS, **limits}.items()))
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [SCRIPT, "node", "start", self.folder, "--json"],
            env=child_environment(ENVIRONMENT),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self._reader.start()
        line = self.process.stdout.readline()
        assert line, "the node ended: " + "".join(self.log)
        self.address = json.loads(line)["addresses"][0]

    def ask(self, command, **arguments):
        return ask(self.folder, command, **arguments)

    def status(self):
        return self.ask("status")

    def digest(self, domain="general"):
        return self.status()["domains"][domain]["digest"]

    def stop(self):
        self.process.terminate()
        code = self.process.wait(30)
        self._close()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self):
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


def eventually(condition, seconds=60):
    """Wait until a condition holds; return what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found
