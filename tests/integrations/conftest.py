import os
import threading

import pytest

from zenso.memory import Memory
from zenso.zen import load_encoder

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read when Haystack is imported
os.environ["LANGSMITH_TRACING"] = "false"


class WatchedEncoder:
    """The real encoder; remembers the threads that it worked in."""

    def __init__(self, encoder):
        self._encoder = encoder
        self.threads = set()

    def __getattr__(self, name):
        if name.startswith("encode_"):
            self.threads.add(threading.get_ident())
        return getattr(self._encoder, name)


@pytest.fixture(scope="session")
def encoder():
    return load_encoder()


@pytest.fixture
def watched(encoder):
    return WatchedEncoder(encoder)


@pytest.fixture
def memory(tmp_path, watched):
    with Memory.open(tmp_path / "notes.zenso", encoder=watched) as opened:
        yield opened
