import random

import pytest

from zenso.models.download import download
from zenso.models.files import SourceError
from zenso.models.progress import Transfer

BODY = random.Random(1).randbytes(2_000_000)


@pytest.fixture
def get(server, tmp_path):
    server.serve_file("/file", BODY)
    part = tmp_path / "file.part"
    events = []

    def run(path="/file", limit=2_000_000):
        download(f"{server.url}{path}", part, what="file", limit=limit, context=None, on_progress=events.append)
        return part.read_bytes()

    run.part, run.events = part, events
    return run


def test_progress_is_told_from_start_to_end(get):
    assert get() == BODY
    assert get.events[0] == Transfer("file", 0, len(BODY))
    assert get.events[-1] == Transfer("file", len(BODY), len(BODY))
    assert [event.done for event in get.events] == sorted(event.done for event in get.events)


def test_a_broken_connection_is_continued(get, server):
    server.breaks = [700_000, 500_000, 100_000]
    assert get() == BODY
    assert server.asked("/file") == [None, "bytes=700000-", "bytes=1200000-", "bytes=1300000-"]


def test_a_dead_server_leaves_what_arrived_for_the_next_call(get, server):
    server.breaks = [700_000, 0, 0, 0]
    with pytest.raises(SourceError, match=r"700000 of 2000000 bytes .*700000 bytes are kept for the next attempt"):
        get()
    assert get.part.read_bytes() == BODY[:700_000]
    server.requests.clear()
    assert get() == BODY
    assert server.asked("/file") == ["bytes=700000-"]


def test_a_server_without_ranges_starts_over(get, server):
    server.ranges = False
    server.breaks = [700_000]
    assert get() == BODY
    assert server.asked("/file") == [None, "bytes=700000-"]


def test_a_whole_part_is_not_downloaded_again(get, server):
    get.part.write_bytes(BODY)
    assert get() == BODY
    assert server.asked("/file") == [f"bytes={len(BODY)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(get):
    get.part.write_bytes(BODY + b"more")
    assert get() == BODY


def test_a_refusal_is_not_repeated(get, server):
    with pytest.raises(SourceError, match=r"/none: HTTP 404 Not Found"):
        get("/none")
    assert len(server.requests) == 1
    assert not get.part.exists()


def test_more_bytes_than_expected_are_refused(get):
    with pytest.raises(SourceError, match="more than the 1000000 bytes"):
        get(limit=1_000_000)


def test_nobody_listens(tmp_path):
    with pytest.raises(SourceError, match="Connection refused"):
        download(
            "http://127.0.0.1:9/f", tmp_path / "p", what="f", limit=1, context=None, on_progress=lambda event: None
        )


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://[bad/", "http://127.0.0.1:9/\ud800", "http://"])
def test_other_kinds_of_address_are_refused(tmp_path, url):
    with pytest.raises(SourceError, match=r"not an http or https address|not a usable address|no host given"):
        download(url, tmp_path / "p", what="f", limit=1, context=None, on_progress=print)
