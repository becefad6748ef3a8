"""Several threads on one memory, several processes on one folder, and processes that are killed."""

import random
import signal
import threading
import time

import pytest

from zenso.memory import Memory

# Adds pairs of documents together and deletes old pairs together; prints each pair when it is safe.
WRITER = """
    import itertools, sys
    from zenso.memory import Memory, upkeep
    upkeep.SEGMENT_ROWS, upkeep.CLOSING_ROWS = 16, 4
    folder, first, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with Memory.open(folder) as memory:
        for number in range(first, first + rounds) if rounds else itertools.count(first):
            pair = [f"{number}-left", f"{number}-right"]
            memory.add([f"the pair {name}" for name in pair], ids=pair, metadata={"pair": number})
            print("added", number, flush=True)
            if number % 3 == 0 and number > 5:
                memory.delete([f"{number - 5}-left", f"{number - 5}-right"])
                print("deleted", number - 5, flush=True)
"""

# Searches until told to stop; every result must be of one state, in which pairs are whole.
READER = """
    import sys, threading
    from zenso.memory import Memory
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    searches, states = 0, set()
    with Memory.open(sys.argv[1], read_only=sys.argv[2] == "True") as memory:
        while not stop.is_set() or not searches:
            ids = [hit.id for hit in memory.search("the pair", k=10_000)]
            numbers = sorted(int(name.split("-")[0]) for name in ids)
            assert numbers[::2] == numbers[1::2] and len(set(ids)) == len(ids), ids
            if not searches:
                print("ready", flush=True)
            searches, states = searches + 1, states | {tuple(numbers)}
        print(len(states), *sorted(hit.id for hit in memory.search("the pair", k=10_000)))
"""


def test_two_processes_read_while_one_writes(folder, encoder, child, ask):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add(["the pair 0-left", "the pair 0-right"], ids=["0-left", "0-right"])
    readers = [child(READER, folder, read_only) for read_only in (True, False)]
    assert [reader.stdout.readline() for reader in readers] == ["ready\n"] * 2
    ask(WRITER, folder, 1, 60)
    with Memory.open(folder, encoder=encoder) as memory:
        expected = sorted(memory.ids())
        assert len(expected) > 60
    for reader in readers:
        output, _ = reader.communicate("stop\n", timeout=60)
        assert reader.returncode == 0
        states, *ids = output.split()
        assert int(states) > 1
        assert ids == expected


def test_new_rows_are_seen_by_every_reader(folder, encoder, child):
    """Readers that never stop see each new document and each delete; how soon is measured in bench/concurrency.py."""
    script = """
        import sys
        from zenso.memory import Memory
        seen = None
        with Memory.open(sys.argv[1], read_only=True) as memory:
            while True:
                ids = sorted(hit.id for hit in memory.search("the pair", k=99))
                if ids != seen:
                    seen = ids
                    print(*ids, flush=True)
    """
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add("the pair 0", ids="0")
        readers = [child(script, folder) for _ in range(3)]
        assert [reader.stdout.readline() for reader in readers] == ["0\n"] * 3
        for number in range(1, 10):
            memory.add(f"the pair {number}", ids=str(number))
            expected = sorted(memory.ids())
            for reader in readers:
                watchdog = threading.Timer(30, reader.kill)
                watchdog.start()
                assert reader.stdout.readline().split() == expected
                watchdog.cancel()
            if number % 3 == 0:
                memory.delete(str(number))
                assert [reader.stdout.readline().split() for reader in readers] == [sorted(memory.ids())] * 3


def test_writers_take_turns(folder, encoder, child):
    """The folder does not exist yet: both processes create it."""
    writers = [child(WRITER, folder, first, 20) for first in (0, 1000)]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    with Memory.open(folder, encoder=encoder) as memory:
        numbers = [hit.metadata["pair"] for hit in memory.search("the pair", k=10_000)]
    deleted = {first + n - 5 for first in (0, 1000) for n in range(20) if (first + n) % 3 == 0 and first + n > 5}
    expected = {first + n for first in (0, 1000) for n in range(20)} - deleted
    assert sorted(numbers) == sorted([*expected, *expected])


def test_killed_in_the_middle_of_adding(folder, encoder, child):
    generator = random.Random(5)
    alive, stored_at_all = set(), set()
    for round_number in range(10):
        process = child(WRITER, folder, round_number * 10_000, 0)
        lines = [process.stdout.readline()]
        timer = threading.Timer(generator.uniform(0, 0.25), process.send_signal, [signal.SIGKILL])
        timer.start()
        lines += process.stdout.readlines()
        timer.join()
        assert process.wait(timeout=30) == -signal.SIGKILL
        for line in lines:
            if line.endswith("\n"):
                word, number = line.split()
                (alive.add if word == "added" else alive.discard)(int(number))
        with Memory.open(folder, encoder=encoder) as memory:
            stored = [hit.metadata["pair"] for hit in memory.search("the pair", k=10**6)]
            assert len(stored) == len(memory) == 2 * len(set(stored)), "half of a pair"
            # Whatever differs was in progress when the process died: at most one add or one delete.
            assert len(alive ^ set(stored)) <= 1, (alive, stored)
            alive = set(stored)
            with memory._database.read() as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored_at_all |= alive
    assert len(stored_at_all) > 20


def test_threads_search_while_one_adds_and_one_deletes(folder, encoder, small_segments):
    errors, done = [], threading.Event()
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add("the pair of scissors", ids="scissors")

        def search():
            try:
                while not done.is_set():
                    ids = {hit.id for hit in memory.search("the pair", k=1000)}
                    sides = sorted(name.split("-")[0] for name in ids - {"scissors"})
                    assert "scissors" in ids
                    assert sides[::2] == sides[1::2]
            except BaseException as error:  # noqa: BLE001 - reported by the test
                errors.append(error)

        def write(start):
            try:
                for number in range(start, start + 25):
                    pair = [f"{number}-left", f"{number}-right"]
                    memory.add([f"the pair {name}" for name in pair], ids=pair)
                    if number % 2:
                        assert memory.delete(pair) == 2
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        readers = [threading.Thread(target=search) for _ in range(3)]
        writers = [threading.Thread(target=write, args=(start,)) for start in (0, 100)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in readers:
            thread.join()
        assert errors == []
        assert len(memory) == 1 + 2 * (13 + 13)


def test_closing_while_another_thread_searches(folder, encoder):
    memory = Memory.open(folder, encoder=encoder)
    memory.add([f"text {n}" for n in range(50)])
    outcomes = []

    def search():
        try:
            while True:
                memory.search("text")
        except BaseException as error:  # noqa: BLE001
            outcomes.append(str(error))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    memory.close()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 3
    assert all("closed; open it again" in outcome for outcome in outcomes)


def test_a_forked_child_is_told_to_open_it_again(folder, ask):
    lines = ask(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads, which is the point
        from zenso.errors import InputError
        from zenso.memory import Memory
        with Memory.open(sys.argv[1]) as memory:
            memory.replace_source("a.txt", "v1", [])
            child = os.fork()
            if child == 0:
                try:
                    len(memory)
                except InputError as error:
                    print(error, flush=True)
                memory.close()
                with Memory.open(sys.argv[1]) as again:
                    print(again.source_fingerprint("a.txt"), flush=True)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            print(len(memory.sources()))
        """,
        folder,
    )
    assert "opened before a fork" in lines[0]
    assert lines[1:] == ["v1", "1"]


@pytest.mark.parametrize("close", [True, False])
def test_nothing_is_left_open(folder, ask, close):
    """With warnings as errors, a connection left to the garbage collector would be reported."""
    ask(
        """
        import sys
        from zenso.memory import Memory
        memory = Memory.open(sys.argv[1])
        memory.replace_source("a.txt", "v1", [])
        iterator = iter(memory)
        assert next(iterator, None) is None
        if sys.argv[2] == "True":
            memory.close()
        """,
        folder,
        close,
    )
    assert sorted(path.name for path in folder.iterdir()) == ["memory.sqlite3"]
