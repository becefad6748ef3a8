import threading

import pytest

from zenso.errors import StorageError
from zenso.memory import Memory, check_memory
from zenso.memory.database import FILE_NAME
from zenso.memory.segments import FOLDER_NAME
from zenso.memory.verify import verify_memory

pytestmark = pytest.mark.usefixtures("small_segments")


@pytest.fixture
def filled(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add([f"document number {n} " + "x" * 2000 for n in range(60)], ids=[str(n) for n in range(60)])
    return folder


def ranking(memory):
    return [(hit.id, hit.score) for hit in memory.search("number", k=99)]


def test_the_space_of_deleted_documents_is_given_back(filled, encoder):
    with Memory.open(filled, encoder=encoder) as memory, Memory.open(filled, encoder=encoder) as other:
        memory.delete([str(n) for n in range(60) if n % 3])
        expected = ranking(other)
        size = (filled / FILE_NAME).stat().st_size
        report = memory.compact()
        assert report.bytes_after < report.bytes_before / 2
        assert (filled / FILE_NAME).stat().st_size < size / 2
        assert sum(path.stat().st_size for path in (filled / FOLDER_NAME).iterdir()) < 20 * 1100 + 5 * 72
        assert ranking(memory) == ranking(other) == expected
        assert len(expected) == 20
        memory.add("one more", ids="new")
        assert "new" in {name for name, _ in ranking(other)}
    assert check_memory(filled).ok
    assert verify_memory(filled, encoder).ok


def test_where_nothing_was_deleted_nothing_is_lost(filled, encoder):
    with Memory.open(filled, encoder=encoder) as memory:
        expected = ranking(memory)
        for _ in range(2):
            memory.compact()
            assert ranking(memory) == expected
    assert check_memory(filled).ok


def test_while_others_search_and_add(filled, encoder):
    errors, stop = [], threading.Event()

    def search():
        try:
            with Memory.open(filled, encoder=encoder, read_only=True) as reader:
                while not stop.is_set():
                    assert len(ranking(reader)) >= 40
        except BaseException as error:  # noqa: BLE001 - reported by the test
            errors.append(error)

    def add():
        try:
            with Memory.open(filled, encoder=encoder) as writer:
                for n in range(10):
                    writer.add(f"added {n}", ids=f"added {n}")
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    with Memory.open(filled, encoder=encoder) as memory:
        memory.delete([str(n) for n in range(20)])
        threads = [threading.Thread(target=search), threading.Thread(target=add)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            memory.compact()
        threads[1].join()
        stop.set()
        threads[0].join()
        assert errors == []
        assert len(ranking(memory)) == 50
    assert check_memory(filled).ok


def test_a_memory_opened_for_reading_is_not_compacted(filled):
    with Memory.open(filled, read_only=True) as memory, pytest.raises(StorageError, match="read_only"):
        memory.compact()
