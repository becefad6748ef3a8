import contextlib
import os
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import zenso
from bench.other_model import with_other_slots
from zenso.memory import Memory, upkeep
from zenso.zen import DocumentEmbeddings, load_encoder
from zenso.zen.frequencies import query_weights


class CachingEncoder:
    """The real encoder, asked once for each text: the memory is under test here, not the model."""

    def __init__(self, encoder):
        self._encoder = encoder
        self._documents = {}
        self._queries = {}
        self.provenance = encoder.provenance
        self.splitting_tokenizer = encoder.splitting_tokenizer
        self.word_tokens = encoder.word_tokens
        self.encoded = []

    def encode_documents(self, texts, on_progress=None):
        self.encoded += texts
        missing = [text for text in dict.fromkeys(texts) if text not in self._documents]
        if missing:
            fresh = self._encoder.encode_documents(missing)
            for index, text in enumerate(missing):
                row = (fresh.vectors[index], fresh.codes[index], fresh.token_counts[index], fresh.token_sets[index])
                self._documents[text] = row
        if on_progress is not None:
            for _ in texts:
                on_progress(1)
        *arrays, token_sets = zip(*(self._documents[text] for text in texts), strict=True)
        return DocumentEmbeddings(*map(np.stack, arrays), list(token_sets))

    def token_sets(self, texts):
        return self._encoder.token_sets(texts)

    def encode_query(self, text, frequencies=None):
        if text not in self._queries:
            ids = self._encoder._encoder.tokenizer.encode([text], "")[0]
            self._queries[text] = self._encoder.encode_query(text), ids
        query, ids = self._queries[text]
        return replace(query, weights=query_weights(ids, self._encoder._artifact.shipped, frequencies))


@pytest.fixture(scope="session")
def encoder():
    return CachingEncoder(load_encoder())


@pytest.fixture(scope="session")
def other_encoder():
    """The same model with other slots: real codes of another provenance."""
    return CachingEncoder(with_other_slots(load_encoder()))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "notes.zenso"


@pytest.fixture
def memory(folder, encoder):
    with Memory.open(folder, encoder=encoder) as opened:
        yield opened


@pytest.fixture
def small_segments(monkeypatch):
    """Seal segments after a few rows, so that a handful of documents makes several."""
    monkeypatch.setattr(upkeep, "SEGMENT_ROWS", 8)
    monkeypatch.setattr(upkeep, "CLOSING_ROWS", 4)


@pytest.fixture
def shared_folder():
    """A folder that other users of the machine may enter, which pytest's own may not be."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def child():
    """Start Python processes that run a script with ``zenso``; whatever still runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def start(script, *arguments):
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": str(Path(zenso.__file__).parents[1])},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def ask(child):
    """Run a script to its end and return the lines it printed."""

    def run(script, *arguments):
        process = child(script, *arguments)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return output.splitlines()

    return run
