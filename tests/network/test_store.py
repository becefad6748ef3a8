import random
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

import zenso
from zenso.errors import IntegrityError, StorageError
from zenso.network import Identity, Operation, RecordStore, decode_record, sign_record
from zenso.robust.reputation import NEWCOMER

ALICE = Identity(bytes([1]) * 32)
LESSON = {"content_hash": bytes(32), "provenance": bytes(32), "confidence": 0.5}


def lesson(number, domain="coding", **fields):
    code = random.Random(number).randbytes(964)
    fields = {"text": f"lesson {number}", "code": code, **LESSON, **fields}
    return sign_record(ALICE, Operation.ADD, domain, number, bits=0, **fields)


def deletion(record):
    return sign_record(ALICE, Operation.DELETE, record.domain, 0, bits=0, targets=[record.id])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "node" / "records.sqlite3"


@pytest.fixture
def store(path):
    opened = RecordStore(path)
    yield opened
    opened.close()


def test_records_and_state_are_there_after_opening_again(store, path):
    records = [lesson(n) for n in range(5)] + [lesson(9, "law")]
    for record in [*records, deletion(records[0])]:
        assert store.add(record)
        assert not store.add(record)
    store.set_recomputed(records[1].id, is_right=False)
    store.set_recomputed(records[2].id, is_right=True)
    store.observe("key:a", 10.0, good=True, weight=2)

    def seen(one):
        return (
            set(one.lessons("coding")),
            one.domains(),
            one.digest("coding"),
            sorted(one.ids("coding")),
            one.reputations(),
            [one.recomputed(record.id) for record in records],
            one.raw([record.id for record in records]),
            one.nearest("coding", records[3].code, 10),
        )

    before = seen(store)
    assert before[0] == {record.id for record in records[2:5]}
    assert before[1] == {"coding": 5, "law": 1}
    assert before[7] == [records[3].id]
    assert records[1].id not in store
    assert not store.add(records[1])
    store.close()
    again = RecordStore(path)
    assert seen(again) == before
    assert len(again) == 6
    again.close()


def test_a_record_found_wrong_is_near_to_nothing_any_more(store):
    records = [lesson(n) for n in range(5)]
    for record in records:
        store.add(record)
    store.set_recomputed(records[1].id, is_right=False)
    store.set_recomputed(records[4].id, is_right=False)
    assert [store.nearest("coding", record.code, 10) for record in records] == [
        [] if place in (1, 4) else [record.id] for place, record in enumerate(records)
    ]


def test_a_full_store_keeps_room_for_deletions_and_disputes(path):
    with closing(RecordStore(path, most_bytes=2**20)) as store:
        rooms = []
        for number in range(1000):
            rooms.append((store.has_room(for_all=True), store.has_room(for_all=False)))
            if rooms[-1] == (False, False):
                break
            store.add(lesson(number))
    assert rooms == sorted(rooms, reverse=True)
    assert {(True, True), (False, True), (False, False)} == set(rooms)
    assert path.stat().st_size < 1.1 * 2**20


def test_as_many_reputations_are_kept_as_fit_the_ones_with_good_outcomes_first(path):
    def fill(store):
        store.observe("key:good", 0.0, good=True, weight=0.5)
        for number in range(99):
            store.observe(f"key:bad {number}", float(number), good=False, weight=1 + number)
        store.observe("peer:new", 100.0, good=True, weight=0.1)

    with closing(RecordStore(path, most_reputations=100)) as store:
        fill(store)
        kept = store.reputations()
        assert len(kept) == 91
        assert {"key:good", "peer:new", "key:bad 98"} < set(kept)
        assert "key:bad 0" not in kept
        assert store.reputation("key:bad 0").score(100) == NEWCOMER
    with closing(RecordStore(path)) as store:
        assert store.reputations() == kept


def test_equal_sets_have_equal_digests_whatever_the_order(tmp_path):
    records = [lesson(n) for n in range(6)]
    stores = [RecordStore(tmp_path / name) for name in "ab"]
    for store, order in zip(stores, (records, records[::-1]), strict=True):
        for record in order:
            store.add(record)
    assert stores[0].digest("coding") == stores[1].digest("coding") != stores[0].digest("law")
    for store in stores:
        store.close()


def test_what_is_no_store_of_records_is_refused(path, tmp_path):
    path.parent.mkdir()
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(IntegrityError, match="damaged"):
        RecordStore(path)
    other = tmp_path / "other"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(StorageError, match="not of a node's records"):
        RecordStore(other)
    RecordStore(tmp_path / "newer").close()
    connection = sqlite3.connect(tmp_path / "newer")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StorageError, match="newer"):
        RecordStore(tmp_path / "newer")
    with pytest.raises(StorageError):
        RecordStore(other / "below")


def test_a_closed_store_says_so(store):
    store.close()
    with pytest.raises(StorageError):
        store.raw([b""])


def test_damaged_bytes_of_a_record_are_not_handed_out(store, path):
    record = lesson(1)
    store.add(record)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE records SET data = ?", (lesson(2).encoded,))
    connection.commit()
    connection.close()
    with pytest.raises(IntegrityError, match="damaged"):
        store.get(record.id)


def test_what_was_stored_survives_a_kill(path):
    script = """
        import sys
        from pathlib import Path
        from zenso.network import RecordStore
        from tests.network.test_store import deletion, lesson
        store = RecordStore(Path(sys.argv[1]))
        first = len(store)
        for number in range(first, 10**6):
            record = lesson(number)
            store.add(record)
            store.observe("key:a", number, good=True, weight=1)
            print(record.id.hex(), flush=True)
    """
    told = []
    for _ in range(3):
        command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
        root, source = Path(__file__).parents[2], Path(zenso.__file__).parents[1]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=root, env={"PYTHONPATH": f"{source}:{root}"}
        ) as process:
            told += [process.stdout.readline().strip() for _ in range(20)]
            time.sleep(random.Random(len(told)).random() / 20)
            process.kill()
            told += process.stdout.read().split("\n")[:-1]
    store = RecordStore(path)
    assert len(told) > 60
    for name in told:
        if len(name) == 72:  # the last line may be cut
            assert decode_record(store.raw([bytes.fromhex(name)])[bytes.fromhex(name)]).id.hex() == name
    assert len(store) >= len(told) - 3
    assert set(store.lessons("coding")) >= {bytes.fromhex(name) for name in told if len(name) == 72}
    assert store.reputation("key:a").good > 0
    store.close()
