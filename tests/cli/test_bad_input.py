"""What the issue of bad input gets, through the command: a correct result, or one line that says what to do."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.process import SCRIPT, child_environment
from tests.memory.ingest.pdf import make_pdf


def index(zenso, *arguments, **options):
    return zenso("index", ".", "-m", "m.zenso", "--json", *arguments, **options)


def search(zenso, query, **options):
    return zenso("search", query, "-m", "m.zenso", "--json", "-k", "3", **options).json["hits"]


@pytest.mark.parametrize(
    ("name", "content", "query", "found"),
    [
        # 10 MB, of words so long that they are one token each: prose of that size takes minutes.
        ("long.txt", (b"x" * 999 + b" ") * 10 * 1024 + b"Bees make honey.", "honey bees", "honey"),
        ("control.txt", b"Bees\x01\x02 make\x07 honey\x1b[31m from nectar.\x00"[:-1], "honey bees", "honey"),
        ("latin.txt", "Ein Käfer und eine Hummel.".encode("latin-1") + b" Bees make honey.", "honey bees", "honey"),
        ("hebrew.txt", "הדבורים מייצרות דבש מצוף".encode(), "דבש", "דבש"),
        ("chinese.txt", "蜜蜂用花蜜酿造蜂蜜。".encode(), "蜂蜜", "蜂蜜"),
        ("emoji.txt", "🐝 makes 🍯, says the beekeeper".encode(), "beekeeper", "🍯"),
    ],
)
def test_texts_of_every_kind_are_found(zenso, name, content, query, found):
    (zenso.place / name).write_bytes(content)
    report = index(zenso).json
    assert report["added"] == 1
    hits = search(zenso, query)
    assert found in hits[0]["text"]
    assert hits[0]["path"].endswith(name)


def test_ten_megabytes_in_one_text(zenso):
    candidates = b"Bees make honey from nectar. " * 360_000 + b"\nGlaciers move downhill.\n"
    results = zenso("rerank", "honey", "--from", "-", "--json", stdin=candidates).json["results"]
    assert [result["index"] for result in results] == [0, 1]


def test_lone_surrogates_in_a_query_and_in_a_file(zenso):
    (zenso.place / "notes.jsonl").write_bytes(b'{"text": "Bees \\ud800 make honey"}\n')
    index(zenso)
    hits = search(zenso, b"honey \xff bees")  # not UTF-8 on the command line: a surrogate in Python
    assert hits[0]["text"] == "Bees \ufffd make honey"


def test_empty_files_and_texts_of_spaces_are_said(zenso):
    (zenso.place / "empty.txt").write_bytes(b"")
    (zenso.place / "spaces.txt").write_bytes(b" \n\t \n")
    (zenso.place / "bees.txt").write_bytes(b"Bees make honey.")
    index(zenso)
    assert len(search(zenso, "honey")) == 1
    for query in ("", "  \n"):
        done = zenso("search", query, "-m", "m.zenso", code=1)
        assert done.is_one_error_line
        assert "query" in done.err


def test_a_corrupt_pdf_is_skipped_by_name_and_the_rest_is_indexed(zenso):
    whole = make_pdf("Glaciers move slowly downhill.")
    (zenso.place / "whole.pdf").write_bytes(whole)
    (zenso.place / "torn.pdf").write_bytes(whole[: len(whole) // 3])
    report = index(zenso).json
    assert report["added"] == 1
    assert [Path(item["path"]).name for item in report["skipped"]] == ["torn.pdf"]
    assert report["skipped"][0]["reason"]


def test_a_memory_of_a_newer_version(zenso):
    (zenso.place / "bees.txt").write_bytes(b"Bees make honey.")
    index(zenso)
    database = sqlite3.connect(zenso.place / "m.zenso" / "memory.sqlite3")
    database.execute("PRAGMA user_version = 99")
    database.close()
    for arguments in (("search", "honey"), ("index", ".")):
        done = zenso(*arguments, "-m", "m.zenso", code=1)
        assert done.is_one_error_line
        assert "99" in done.err
        assert "m.zenso" in done.err


def test_a_damaged_segment_is_made_again(zenso):
    lines = "\n".join(f'{{"text": "note {number} about bees"}}' for number in range(1100))  # enough for a segment
    (zenso.place / "notes.jsonl").write_text(lines + '\n{"text": "Glaciers move downhill"}\n')
    index(zenso)
    segments = list((zenso.place / "m.zenso" / "codes").glob("*.codes"))
    assert segments
    for segment in segments:
        segment.write_bytes(segment.read_bytes()[: segment.stat().st_size // 2])
    assert search(zenso, "ice that flows")[0]["text"] == "Glaciers move downhill"


def test_a_disk_that_is_full(zenso):
    (zenso.place / "notes.txt").write_text("\n\n".join(f"Note {number} says bees make honey." for number in range(400)))

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = zenso("index", ".", "-m", "m.zenso", code=1, preexec_fn=limited)
    assert done.is_one_error_line
    assert "m.zenso" in done.err
    assert index(zenso).json["added"] == 1
    assert search(zenso, "honey")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another user")
def test_a_folder_without_permission(zenso, tmp_path):
    locked = zenso.place / "locked"
    locked.mkdir(mode=0o700)
    (locked / "bees.txt").write_bytes(b"Bees make honey.")
    done = subprocess.run(
        [sys.executable, "-c", SEARCH_AS_NOBODY, str(locked / "m.zenso"), str(locked)],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    opened, walked = done.stdout.splitlines()
    assert opened.startswith("StorageError")
    assert "m.zenso" in opened
    assert "locked" in walked


# The command itself lies where another user may not look, so rights are dropped after it is loaded.
SEARCH_AS_NOBODY = """
import os, sys
from zenso.memory import Memory
from zenso.memory.ingest import walk
os.setegid(65534); os.seteuid(65534)
try:
    Memory.open(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
print(list(walk([sys.argv[2]])))
"""


def test_killed_in_the_middle_and_run_again(zenso):
    files = 1000  # four batches
    for number in range(files):
        (zenso.place / f"{number:03}.txt").write_text(f"Entry {number}: bees visit flower number {number}. " * 3)
    running = subprocess.Popen(
        [SCRIPT, "index", ".", "-m", "m.zenso"],
        cwd=zenso.place,
        env=child_environment(),
        stderr=subprocess.DEVNULL,
    )
    database = zenso.place / "m.zenso" / "memory.sqlite3"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and running.poll() is None and stored(database) < 1:
        time.sleep(0.02)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    kept = stored(database)
    assert 1 <= kept < files
    report = index(zenso).json
    assert (report["unchanged"], report["added"], report["documents"]) == (kept, files - kept, files)
    assert search(zenso, "bees and flowers")


def stored(database):
    """How many sources are committed, as seen from outside."""
    if not database.exists():
        return 0
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT count(*) FROM sources").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # not made yet
    finally:
        connection.close()
