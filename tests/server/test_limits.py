"""Too much, too slow, too many: each is refused, and the server goes on."""

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from zenso.server.errors import OverloadedError
from zenso.server.services import Services
from zenso.server.settings import Limits, Settings

HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LONG = "word " * 200


@pytest.fixture(scope="module")
def tight(start_server, tmp_path_factory):
    place = tmp_path_factory.mktemp("tight")
    (place / "zenso.toml").write_text(
        "threads = 1\nkeys = 'none.json'\n[memories]\nmain = 'main.zenso'\n"
        "[limits]\nconnections = 40\nhead_seconds = 1\nidle_seconds = 1\nbody_bytes = 100_000_000\n"
        "queued_tokens = 4096\n"
    )
    return start_server(place)


@contextlib.contextmanager
def connection(server):
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as sock:
        yield sock


def answer_to(server, *parts, more=()):
    """Send bytes, and return all that comes until the server closes the connection."""
    with connection(server) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in itertools.chain(parts, more):
                sock.sendall(part)
        return rest_of(sock)


def rest_of(sock):
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(1_000_000):
            received += part
    return received


def is_well(server):
    return httpx.get(f"{server.url}/health").json() == {"status": "ok"}


def measured(server):
    text = httpx.get(f"{server.url}/metrics").text
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def test_a_gigabyte_that_is_declared_is_refused_before_it_is_sent(server):
    began = answer_to(server, HEAD + b"Content-Length: 1073741824\r\n\r\n{")
    assert began.startswith(b"HTTP/1.1 413")
    assert b"larger than 33,554,432 bytes" in began
    assert b"connection: close" in began.lower()


def test_a_gigabyte_in_chunks_is_refused_on_the_way(server):
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    sent = 0

    def chunks():
        nonlocal sent
        for _ in range(1024):
            yield chunk
            sent += 0x100000

    answer = answer_to(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", more=chunks())
    assert sent < 2**29
    assert answer.startswith(b"HTTP/1.1 413") or answer == b""  # a reset may overtake the answer
    assert is_well(server)


def test_a_body_that_stalls_is_given_up(tight):
    for framing in (b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n"):
        answer = answer_to(tight, HEAD + framing)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"nothing of the body came for 1 s" in answer


def test_a_head_that_does_not_come_is_given_up(tight):
    assert answer_to(tight).startswith(b"HTTP/1.1 408")
    assert answer_to(tight, HEAD).startswith(b"HTTP/1.1 408")
    with connection(tight) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(10_000).startswith(b"HTTP/1.1 200")
        for _ in range(3):  # also on a connection that was used, and when something comes now and then
            sock.sendall(b"\r\n")
            time.sleep(0.2)
        assert b"HTTP/1.1 408" in rest_of(sock)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",  # a line
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",  # a header
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;",  # an extension of a chunk
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",  # a trailer
    ],
)
def test_what_has_no_end_is_cut_off(server, start):
    began = time.monotonic()
    answer = answer_to(server, start, *[b"x" * 65_536] * 64)
    assert time.monotonic() - began < 15  # head_seconds of this server is 20
    assert answer[:12] in (b"", b"HTTP/1.1 431", b"HTTP/1.1 400")
    assert is_well(server)


def test_many_headers_are_too_many(server):
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(50_000))
    answer = answer_to(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n", lines)
    assert answer[:12] in (b"", b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n", HEAD[:20] + b"\xff\r\n"],
)
def test_garbage_gets_a_short_answer(tight, garbage):
    assert answer_to(tight, garbage)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 408", b"")
    assert is_well(tight)


def test_an_answer_that_nobody_reads_is_thrown_away(tight):
    body = b'{"dimensions": 7680, "input": ["a"' + b', "a"' * 399 + b"]}"
    with connection(tight) as sock:
        sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert sock.recv(12) == b"HTTP/1.1 200"
        time.sleep(3)
        assert len(rest_of(sock)) < 20_000_000
    assert is_well(tight)


def test_an_answer_that_is_read_slowly_arrives(tight):
    with httpx.stream("POST", f"{tight.url}/v1/embeddings", json={"dimensions": 7680, "input": ["a"] * 100}) as answer:
        size = 0
        for number, part in enumerate(answer.iter_raw(1_000_000)):
            size += len(part)
            time.sleep(0.5 if number < 4 else 0)
    assert size == int(answer.headers["content-length"])


def test_connections_beyond_the_limit_are_told_so(tight):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(connection(tight)) for _ in range(60)]
        answers = [rest_of(sock) for sock in sockets]
    assert sum(answer.startswith(b"HTTP/1.1 503") for answer in answers) >= 20
    assert is_well(tight)


def test_a_full_queue_is_said_at_once_and_when_to_come_back(tight):
    def embed(_):
        return httpx.post(f"{tight.url}/v1/embeddings", json={"input": [LONG] * 8}, timeout=120)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(embed, range(16)))
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert "tokens wait for the model already" in refused.json()["error"]["message"]


def test_work_of_clients_that_left_is_dropped(tight):
    httpx.post(f"{tight.url}/v1/embeddings", json={"input": "a"})
    before = measured(tight)["zenso_model_tokens_total"]
    body = b'{"input": ["' + b'", "'.join([LONG.encode()] * 200) + b'"]}'  # 40,000 tokens; alone, it may be too much
    with connection(tight) as sock:
        sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        while measured(tight)["zenso_model_queued_tokens"] < 1000:
            time.sleep(0.05)
    deadline = time.monotonic() + 20
    while (now := measured(tight))["zenso_model_queued_tokens"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert now["zenso_model_tokens_total"] - before < 30_000
    assert now["zenso_model_queued_calls"] == 0


def test_a_caller_has_a_rate(start_server, tmp_path):
    (tmp_path / "zenso.toml").write_text("keys = 'none.json'\n[limits]\nrequests_per_minute = 6\n")
    url = start_server(tmp_path).url
    answers = [httpx.get(f"{url}/health") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 10
    # Whoever guesses keys has one too.
    strangers = [
        httpx.get(f"{url}/v1/models", headers={"X-Forwarded-For": f"2001:db8::{number}"}) for number in range(2)
    ]
    assert [answer.status_code for answer in strangers] == [401, 429]


async def test_threads_are_held_until_their_work_ends_and_no_longer(tmp_path):
    settings = Settings(keys=tmp_path / "keys", limits=Limits(worker_threads=1, queued_requests=1))
    services = Services(settings)
    running, release = threading.Event(), threading.Event()
    done = []

    def work(name):
        running.set()
        release.wait(30)
        done.append(name)

    first = asyncio.ensure_future(services.run(work, "first"))
    await asyncio.to_thread(running.wait, 30)
    second = asyncio.ensure_future(services.run(work, "second"))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 requests wait already; try again in 1 s"):
        await services.run(work, "third")
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert services.waiting == 1  # the thread of the first is not free yet; the second never begins
    release.set()
    await services.run(work, "fourth")
    assert done == ["first", "fourth"]
    await asyncio.sleep(0.1)
    assert services.waiting == 0
    services.close()
