"""One client of ``bench soak``.

    python -m bench.soak_client FOLDER PORT KIND-NUMBER SEED

A reader embeds, reranks and searches; a writer adds, replaces and deletes documents with ids of its own, one request at
a time, and keeps a journal of what it asked for and what was acknowledged; a rude one leaves in the middle, sends half
of a request, or bytes that are no request. All check what they get, and go on when the server is away. The files
``start`` and ``stop`` in the folder begin and end their work; what they saw is in ``KIND-NUMBER.json`` then.
"""

import contextlib
import http.client
import json
import math
import os
import random
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
_KEPT_TIMES = 20_000  # of each kind; then every second one
_KEPT_WRONG = 5
_PAUSE = 0.2  # seconds, while the server is away or busy
_TIMEOUT = 180.0
_WIDTH = 384
_DOCUMENTS = 2000  # of a writer: it deletes when it has more


class _AwayError(Exception):
    """The server is away: it could not be reached, or the connection ended before the answer."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent  # or at least a part of it


class _Wrong(Exception):  # noqa: N818 - of the server, not of this program
    """An answer makes no sense."""


class Client:
    """Sends requests and checks the answers."""

    def __init__(self, folder: Path, port: int, name: str, seed: str) -> None:
        self.folder, self.port, self.name = folder, port, name
        self.random = random.Random(seed)
        self.texts: list[str] = json.loads((folder / "texts.json").read_text("utf-8"))
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.milliseconds: defaultdict[str, list[float]] = defaultdict(list)
        self.away: list[float] = []  # seconds of the epoch
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Go on until told to stop, then report."""
        kind = self.name.partition("-")[0]
        kinds: dict[str, type[Reader | Writer | Rude]] = {"read": Reader, "write": Writer, "rude": Rude}
        step = kinds[kind](self).step
        while not (self.folder / "start").exists():
            time.sleep(0.01)
        while not (self.folder / "stop").exists():
            try:
                step()
            except _AwayError:
                self.away.append(time.time())
                time.sleep(_PAUSE)
            except _Wrong as error:
                self.say_wrong(str(error))
            except (AttributeError, LookupError, TypeError) as error:
                self.say_wrong(f"an answer of another form: {error!r}")
        report = {
            "counts": self.counts,
            "wrong": self.wrong,
            "milliseconds": self.milliseconds,
            "away": self.away,
        }
        (self.folder / f"{self.name}.json").write_text(json.dumps(report), "utf-8")

    def say_wrong(self, what: str) -> None:
        """Take note of an answer that makes no sense."""
        self.counts["wrong"] += 1
        if len(self.wrong) < _KEPT_WRONG:
            self.wrong.append(what)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of the answer, which is checked if it is an error."""
        if self._connection is None:
            self._connection = connect(self.port)
        try:
            self._connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            data, status = answer.read(), answer.status
            retry = answer.headers.get("Retry-After")
        except TimeoutError as error:
            self.close()
            message = f"{method} {path}: no answer in {_TIMEOUT:g} s"
            raise _Wrong(message) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _AwayError(sent=True) from error
        try:
            found = json.loads(data)
        except ValueError as error:
            message = f"{method} {path}: {status} and no JSON: {data[:200]!r}"
            raise _Wrong(message) from error
        if status != 200:
            check_error(f"{method} {path}", status, found, retry)
        if status in (429, 503):
            self.counts["refused_busy"] += 1
            time.sleep(_PAUSE)
        return status, found

    def timed(self, kind: str, path: str, body: object) -> Any | None:  # noqa: ANN401 - JSON
        """Send a request that cannot be wrong; None if the server is busy."""
        began = time.perf_counter()
        status, found = self.ask("POST", path, body)
        if status in (429, 503):
            return None
        expect(status == 200, f"{path}: {status} for a request without fault: {found}")
        self.take_time(kind, began)
        return found

    def take_time(self, kind: str, began: float) -> None:
        """Keep the time since a request began."""
        times = self.milliseconds[kind]
        times.append(1000 * (time.perf_counter() - began))
        if len(times) > _KEPT_TIMES:
            del times[::2]

    def close(self) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def query(self) -> str:
        """Return a few words of a text."""
        words = self.random.choice(self.texts).split()
        first = self.random.randrange(max(1, len(words) - 8))
        return " ".join(words[first : first + self.random.randint(1, 12)])


def connect(port: int) -> http.client.HTTPConnection:
    """Connect before anything is sent, so that it is known when nothing was."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.connect()
    except OSError as error:
        raise _AwayError(sent=False) from error
    return connection


def expect(true: bool, message: str) -> None:  # noqa: FBT001 - it is the condition
    """Raise unless something holds."""
    if not true:
        raise _Wrong(message)


def check_error(what: str, status: int, found: object, retry: str | None) -> None:
    """Check that an error says what is wrong, in one of the shapes that clients know."""
    expect(status in (400, 404, 413, 422, 429, 503, 504), f"{what}: status {status}: {found}")
    expect(isinstance(found, Mapping), f"{what}: an error that is no object: {found}")
    assert isinstance(found, Mapping)
    error = found.get("error", found)
    message = error.get("message") or error.get("detail") if isinstance(error, Mapping) else error
    expect(isinstance(message, str) and bool(message), f"{what}: an error without a message: {found}")
    if status == 429:
        expect(bool(retry) and str(retry).isdigit(), f"{what}: 429 without Retry-After")


class Reader:
    """Embeds, reranks and searches."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def step(self) -> None:
        """Send one request."""
        self._client.random.choices((self._embed, self._rerank, self._search), (5, 1, 4))[0]()

    def _embed(self) -> None:
        client = self._client
        texts = [client.query() for _ in range(client.random.choice((1, 1, 1, 4, 32)))]
        found = client.timed("embed", "/v1/embeddings", {"input": texts[0] if len(texts) == 1 else texts})
        if found is None:
            return
        client.counts["embeds"] += 1
        rows = found["data"]
        expect([row["index"] for row in rows] == list(range(len(texts))), f"embeddings: {len(rows)} of {len(texts)}")
        for row in rows:
            norm = math.fsum(value * value for value in row["embedding"])
            expect(len(row["embedding"]) == _WIDTH and abs(norm - 1) < 1e-3, f"embeddings: a vector of norm {norm}")

    def _rerank(self) -> None:
        client = self._client
        documents = [text[:400] for text in client.random.choices(client.texts, k=client.random.randint(1, 20))]
        found = client.timed("rerank", "/v1/rerank", {"model": "", "query": client.query(), "documents": documents})
        if found is None:
            return
        client.counts["reranks"] += 1
        scores = [row["relevance_score"] for row in found["results"]]
        expect(sorted(row["index"] for row in found["results"]) == list(range(len(documents))), f"rerank: {found}")
        expect(scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1, f"rerank: {scores}")

    def _search(self) -> None:
        client = self._client
        k = client.random.choice((1, 5, 10, 100))
        found = client.timed("search", "/v1/search", {"query": client.query(), "k": k})
        if found is None:
            return
        client.counts["searches"] += 1
        hits = found["hits"]
        scores = [hit["score"] for hit in hits]
        expect(len(hits) <= k and len({hit["id"] for hit in hits}) == len(hits), f"search: {len(hits)} hits of {k}")
        expect(scores == sorted(scores, reverse=True), f"search: scores {scores}")
        expect(all(hit["text"] for hit in hits), "search: a hit without a text")


class Writer:
    """Adds, replaces and deletes documents of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._journal = (client.folder / f"{client.name}.journal").open("a", encoding="utf-8")
        self._known: set[str] = set()
        self._next = 0

    def step(self) -> None:
        """Send one request."""
        random = self._client.random
        if self._known and (len(self._known) > _DOCUMENTS or random.random() < 0.4):
            self._delete(random.choice(sorted(self._known)))
        else:
            self._add()

    def _add(self) -> None:
        client = self._client
        texts: dict[str, str | None] = {}
        for _ in range(client.random.choice((1, 1, 3, 20))):
            if self._known and client.random.random() < 0.2:
                name = client.random.choice(sorted(self._known))
            else:
                self._next += 1
                name = f"{client.name}/{self._next}"
            text = client.random.choice(client.texts)[: client.random.randint(20, 600)]
            texts[name] = f"{name}: {text} {client.random.random()}"
        body = {"documents": [{"id": name, "text": text, "metadata": {"n": 1}} for name, text in texts.items()]}
        began = time.perf_counter()
        found = self._write("POST", "/v1/documents", body, texts)
        if found is not None:
            client.take_time("add", began)
            client.counts["adds"] += 1
            self._known |= texts.keys()
            expect(found == {"ids": list(texts)}, f"documents: {found} for {list(texts)}")

    def _delete(self, name: str) -> None:
        client = self._client
        began = time.perf_counter()
        path = f"/v1/documents/{name}"
        found = self._write("DELETE", path, None, {name: None})
        if found is not None:
            client.take_time("delete", began)
            client.counts["deletes"] += 1
            self._known.discard(name)
            expect(found == {"deleted": 1}, f"{path}: {found}")

    def _write(self, method: str, path: str, body: object, texts: Mapping[str, str | None]) -> Any | None:  # noqa: ANN401
        """Send a change; return the answer if it was acknowledged."""
        self._note("begin", texts=texts)
        try:
            status, found = self._client.ask(method, path, body)
        except (_AwayError, _Wrong) as error:
            if isinstance(error, _AwayError) and not error.sent:
                self._note("refused")
                raise
            self._note("unanswered")
            self._known -= texts.keys()  # nobody knows what they are, so they are left alone
            raise
        self._note("done" if status == 200 else "refused")
        expect(status in (200, 429, 503), f"{method} {path}: {status}: {found}")
        return found if status == 200 else None

    def _note(self, event: str, **more: object) -> None:
        entry = {"event": event, "client": self._client.name, **more}
        self._journal.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._journal.flush()


class Rude:
    """Leaves in the middle, sends halves and garbage."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def step(self) -> None:
        """Do one rude thing; now and then see that the server still answers."""
        self._client.random.choice((self._leave, self._half, self._garbage, self._wrong, self._wrong))()
        time.sleep(self._client.random.uniform(0, 0.05))

    def _leave(self) -> None:
        """Ask for much, and go without waiting for the answer."""
        texts = self._client.random.choices(self._client.texts, k=self._client.random.randint(1, 16))
        with self._connect() as sock:
            self._send(sock, _request("/v1/embeddings", json.dumps({"input": texts}).encode()))
            time.sleep(self._client.random.uniform(0, 0.3))
        self._client.counts["left_early"] += 1

    def _half(self) -> None:
        """Send a part of a request, and go."""
        whole = _request("/v1/search", json.dumps({"query": self._client.query()}).encode())
        with self._connect() as sock:
            self._send(sock, whole[: self._client.random.randrange(1, len(whole))])
            time.sleep(self._client.random.uniform(0, 0.1))
        self._client.counts["half_requests"] += 1

    def _garbage(self) -> None:
        """Send bytes that are no request; whatever comes back is an answer of HTTP, or the end."""
        with self._connect() as sock:
            sock.settimeout(_TIMEOUT)
            self._send(sock, self._client.random.randbytes(self._client.random.randint(1, 4000)) + b"\r\n\r\n")
            try:
                answer = sock.recv(4096)
            except TimeoutError as error:
                message = "garbage: neither an answer nor an end"
                raise _Wrong(message) from error
            except OSError:
                answer = b""
            expect(not answer or answer.startswith(b"HTTP/1.1 4"), f"garbage: {answer[:100]!r}")
        self._client.counts["garbage"] += 1

    def _wrong(self) -> None:
        """Send requests of HTTP that cannot be answered; each gets a clear error."""
        client = self._client
        path, body, statuses = client.random.choice(
            (
                ("/v1/embeddings", {"input": []}, (400, 422)),
                ("/v1/embeddings", {"input": "  "}, (400,)),
                ("/v1/embeddings", {"input": "a", "dimensions": 7}, (422,)),
                ("/v1/rerank", {"query": "a", "documents": []}, (400, 422)),
                ("/v1/search", {"query": "", "k": 5}, (400, 422)),
                ("/v1/search", {"query": "a", "k": -1}, (422,)),
                ("/v1/search", {"query": "a", "where": {"$no": 1}}, (400,)),
                ("/v1/documents", {"documents": [{"text": "a", "metadata": [1]}]}, (400, 422)),
                ("/v1/nothing", {}, (404,)),
            )
        )
        status, found = client.ask("POST", path, body)
        expect(status in (*statuses, 429, 503), f"{path} {body}: {status}: {found}")
        client.counts["refused_clearly"] += 1

    def _connect(self) -> socket.socket:
        try:
            return socket.create_connection((HOST, self._client.port), timeout=_TIMEOUT)
        except OSError as error:
            raise _AwayError(sent=False) from error

    def _send(self, sock: socket.socket, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the server need not read to the end what makes no sense
            sock.sendall(data)


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    """Run one client."""
    folder, port, name, seed = sys.argv[1:]
    os.nice(1)  # the server is what is looked at
    Client(Path(folder), int(port), name, seed).run()


if __name__ == "__main__":
    main()
