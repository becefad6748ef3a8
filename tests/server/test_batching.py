import random
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from zenso.canonical import CanonicalEncoder, Want
from zenso.errors import ModelError
from zenso.server.batching import BATCH_TOKENS, SharedEncoder, ticket
from zenso.server.errors import OverloadedError
from zenso.server.tracing import Tracer
from zenso.zen import load_encoder

SECONDS = 60  # more than anything here takes
WORDS = ["bread", "water", "salt", "time", "sea", "whale", "ship", "captain", "tomato", "sun", "paris", "date"]


@pytest.fixture(scope="module")
def plain():
    return load_encoder().canonical


@pytest.fixture
def shared(plain):
    """Encoders with any number of workers, closed in the end."""
    made = []

    def make(threads=1, queued_tokens=10**6, artifact=None):
        encoder = CanonicalEncoder(artifact or plain.artifact, threads=threads)
        made.append(SharedEncoder(encoder, queued_tokens=queued_tokens, tracer=Tracer(None)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ids_of(encoder, texts):
    return [row for part in encoder.tokenize(texts) for row in part]


def texts_of(generator, count, longest=30):
    return [" ".join(generator.choices(WORDS, k=generator.randint(1, longest))) for _ in range(count)]


def assert_same(found, expected):
    np.testing.assert_array_equal(found.pooled, expected.pooled)
    assert len(found.tokens) == len(expected.tokens)
    for one, other in zip(found.tokens + found.ids, expected.tokens + expected.ids, strict=True):
        np.testing.assert_array_equal(one, other)


def test_many_callers_get_what_each_would_get_alone(plain, shared):
    encoder = shared(threads=2)
    generator = random.Random(1)
    wants = (Want.POOLED, Want.POOLED | Want.TOKENS)
    calls = [(texts_of(generator, generator.randint(0, 12)), generator.choice(wants)) for _ in range(60)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda call: encoder.encode(*call), calls))
    for one, call in zip(found, calls, strict=True):
        assert_same(one, plain.encode(*call))
    load = encoder.load
    assert (load.queued_tokens, load.queued_requests) == (0, 0)
    assert load.tokens == sum(len(row) for one in found for row in one.ids)
    assert load.batches < sum(len(texts) for texts, _ in calls)


def test_a_small_request_does_not_wait_for_a_large_one(shared):
    encoder = shared()
    large = encoder.submit(ids_of(encoder, texts_of(random.Random(2), 2048)))
    middling = [encoder.submit(ids_of(encoder, texts_of(random.Random(3), 100))) for _ in range(3)]
    small = [encoder.submit(ids_of(encoder, ["bread and salt"])) for _ in range(5)]
    for one in small:
        one.result(SECONDS)
    assert not any(one.done() for one in (large, *middling))
    for one in (large, *middling):
        one.cancel()


def test_a_large_request_is_not_overtaken_for_ever(shared):
    encoder = shared()
    one_text = ids_of(encoder, ["bread"])
    ids = ids_of(encoder, texts_of(random.Random(3), 12))
    waiting = [encoder.submit(one_text) for _ in range(200)]  # as many as fill each batch
    large = encoder.submit(ids)
    sent = 0
    while not large.done():
        waiting.pop(0).result(SECONDS)
        waiting.append(encoder.submit(one_text))
        sent += 1
    assert large.result().pooled.shape == (12, 384)
    assert sent > 200


def test_equal_requests_are_served_as_they_came(shared):
    encoder = shared()
    ids = ids_of(encoder, [" ".join(WORDS * 3)] * 20)
    order = []
    futures = [encoder.submit(ids) for _ in range(4)]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: order.append(number))
    for future in futures:
        future.result(SECONDS)
    assert order == [0, 1, 2, 3]


def test_what_waits_for_a_client_who_left_is_dropped(shared):
    encoder = shared()
    with ticket() as mine:
        waiting = [encoder.submit(ids_of(encoder, texts_of(random.Random(4), 500))) for _ in range(3)]
        mine.cancel()
        late = encoder.submit(ids_of(encoder, ["too late"]))
    assert all(future.cancelled() for future in (*waiting, late))
    encoder.encode(["bread"])  # whoever comes next is served
    encoder.encode(["the queue is looked through"])
    assert encoder.load.queued_tokens == 0
    assert encoder.load.tokens < 10 * BATCH_TOKENS


def test_a_waiting_call_ends_when_its_client_leaves(shared):
    encoder = shared()
    texts = texts_of(random.Random(5), 2048)
    ended = []

    def wait(mine_is):
        with ticket() as mine:
            mine_is.append(mine)
            try:
                encoder.encode(texts)
            except CancelledError:
                ended.append(time.monotonic())

    tickets = []
    thread = threading.Thread(target=wait, args=(tickets,))
    thread.start()
    while not encoder.load.queued_tokens:
        time.sleep(0.001)
    tickets[0].cancel()
    thread.join(SECONDS)
    assert ended


def test_too_much_is_refused_with_a_time_to_come_back(shared):
    encoder = shared(queued_tokens=600)
    ids = ids_of(encoder, [" ".join(WORDS * 10)] * 40)
    first = encoder.submit(ids)  # more than the limit, but nothing waits
    with pytest.raises(OverloadedError, match=r"[\d,]+ tokens wait for the model already; try again in \d+ s") as error:
        encoder.submit(ids)
    assert error.value.status == 429
    assert error.value.retry_after >= 1
    assert first.result(SECONDS).pooled.shape == (40, 384)
    assert encoder.submit(ids[:1]).result(SECONDS).pooled.shape == (1, 384)


def test_close_finishes_what_waits_and_refuses_what_comes(plain, shared):
    encoder = shared(threads=2)
    texts = texts_of(random.Random(6), 40)
    waiting = [encoder.submit(ids_of(encoder, texts)) for _ in range(3)]
    encoder.close()
    expected = plain.encode(texts)
    for future in waiting:
        assert_same(future.result(0), expected)
    with pytest.raises(OverloadedError, match="shutting down"):
        encoder.encode(["bread"])


def test_an_error_reaches_those_in_its_batch_and_nobody_else(plain, shared):
    encoder = shared()
    blocks = encoder.submit(ids_of(encoder, [" ".join(WORDS * 20)]))  # the others wait together
    too_long = np.resize(ids_of(encoder, ["bread"])[0], 5000)
    failing = encoder.submit([*ids_of(encoder, texts_of(random.Random(7), 40)), too_long, *ids_of(encoder, WORDS)])
    before, after = [" ".join(WORDS)], ["a text " * 40] * 30
    first, last = encoder.submit(ids_of(encoder, before)), encoder.submit(ids_of(encoder, after))
    with pytest.raises(ModelError, match="refused a batch"):
        failing.result(SECONDS)
    assert_same(first.result(SECONDS), plain.encode(before))
    assert_same(last.result(SECONDS), plain.encode(after))
    assert blocks.result(SECONDS).pooled.shape == (1, 384)
    encoder.encode(["the worker goes on"])
    assert encoder.load.queued_tokens == 0


def test_progress_counts_every_text(shared):
    done = []
    shared(threads=2).encode(texts_of(random.Random(8), 300), on_progress=done.append)
    assert sum(done) == 300
