import shutil
import sqlite3

import numpy as np
import pytest
from blake3 import blake3

from zenso.bitdelta.table import column
from zenso.memory import Memory, upkeep
from zenso.memory.segments import FOLDER_NAME, Segment, map_segment

TEXTS = [f"document number {n}" for n in range(30)]

pytestmark = pytest.mark.usefixtures("small_segments")


@pytest.fixture
def filled(folder, encoder):
    """A closed memory of 30 documents, two of them deleted, with several segment files."""
    with Memory.open(folder, encoder=encoder) as memory:
        for text in TEXTS:
            memory.add(text, ids=text)
        memory.delete([TEXTS[3], TEXTS[20]])
    assert len(segment_files(folder)) >= 3
    return folder


def segment_files(folder):
    return sorted((folder / FOLDER_NAME).glob("*"))


def ranking(folder, encoder, **options):
    with Memory.open(folder, encoder=encoder, **options) as memory:
        hits = memory.search("number", k=99)
        assert len(hits) == len(memory)
        return [(hit.id, hit.score) for hit in hits]


def damage_by_deleting(path):
    path.unlink()


def damage_by_truncating(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def damage_by_emptying(path):
    path.write_bytes(b"")


def damage_by_lengthening(path):
    path.write_bytes(path.read_bytes() + b"\x00")


def damage_by_flipping_a_header_bit(path):
    flip(path, 17)


def damage_by_flipping_the_stored_checksum(path):
    flip(path, 50)


def damage_by_flipping_a_row_number(path):
    flip(path, 75)


def damage_by_flipping_a_code_bit(path):
    flip(path, -1)


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


DAMAGES = [value for name, value in list(globals().items()) if name.startswith("damage_by")]


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_segment_is_read_from_the_database_and_written_anew(filled, encoder, damage, which):
    expected = ranking(filled, encoder)
    assert len(expected) == 28
    path = segment_files(filled)[which]
    damage(path)
    assert ranking(filled, encoder, read_only=True) == expected
    with Memory.open(filled, encoder=encoder) as memory:
        assert [(hit.id, hit.score) for hit in memory.search("number", k=99)] == expected
        assert len(memory._matrix._view.damaged) == 1
    with Memory.open(filled, encoder=encoder) as memory:
        assert [(hit.id, hit.score) for hit in memory.search("number", k=99)] == expected
        assert not memory._matrix._view.damaged


def test_a_damaged_segment_is_written_anew_once(filled, encoder):
    path = segment_files(filled)[1]  # all of its rows are alive, so the new file is the same
    content = path.read_bytes()
    with Memory.open(filled, encoder=encoder) as memory:
        path.write_bytes(content[:-1])
        memory.search("number")
        memory.add("one more")
        assert path.read_bytes() == content
        written = [(file.name, file.stat().st_mtime_ns) for file in segment_files(filled)]
        for n in range(2):
            memory.search("number")
            memory.add(f"and one more {n}")
        assert [(file.name, file.stat().st_mtime_ns) for file in segment_files(filled)] == written


def test_without_any_segment_file_nothing_is_lost(filled, encoder):
    expected = ranking(filled, encoder)
    shutil.rmtree(filled / FOLDER_NAME)
    assert ranking(filled, encoder, read_only=True) == expected
    assert not (filled / FOLDER_NAME).exists()
    assert ranking(filled, encoder) == expected
    assert len(segment_files(filled)) >= 3


def test_an_intact_segment_of_another_state_is_not_trusted(filled, encoder, tmp_path):
    """A restored copy of the database goes on differently; the files of the abandoned future must not be used."""
    old = tmp_path / "copy"
    shutil.copytree(filled, old)
    with Memory.open(filled, encoder=encoder) as memory:
        memory.add([f"the abandoned future {n}" for n in range(20)])
    with Memory.open(old, encoder=encoder) as memory:
        memory.add([f"what happened instead {n}" for n in range(20)])
    expected = ranking(old, encoder)
    for ours in segment_files(old):
        for theirs in segment_files(filled):
            if theirs.name.split("-")[0] == ours.name.split("-")[0]:
                shutil.copy(theirs, ours)
    assert ranking(old, encoder) == expected
    shutil.rmtree(old / FOLDER_NAME)
    shutil.copytree(filled / FOLDER_NAME, old / FOLDER_NAME)
    assert ranking(old, encoder) == expected
    assert ranking(old, encoder) == expected


def test_files_left_by_interrupted_writers_are_swept(filled, encoder):
    stray = filled / FOLDER_NAME / "000000000000001-0123456789abcdef.codes.77.tmp"
    stray.write_bytes(b"half a segment")
    with Memory.open(filled, encoder=encoder) as memory:
        memory.add([f"more {n}" for n in range(9)])
    assert not stray.exists()


def test_replacing_one_document_for_ever_takes_no_space(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add("kept", ids="kept")
        for round_number in range(60):
            memory.add(TEXTS[round_number % 2], ids="a")
            assert len(memory.search("number", k=9)) == 2
        assert len(segment_files(folder)) <= 2
        with memory._database.read() as connection:
            assert connection.execute("SELECT count(*) FROM removed").fetchone()[0] <= 20


def test_mostly_dead_segments_are_written_anew_on_closing(filled, encoder):
    before = sum(path.stat().st_size for path in segment_files(filled))
    with Memory.open(filled, encoder=encoder) as memory:
        memory.delete(TEXTS[:25])
        left = memory.ids()
    assert sum(path.stat().st_size for path in segment_files(filled)) < before / 2
    assert sorted(name for name, _ in ranking(filled, encoder)) == sorted(left)


def test_a_reader_follows_a_writer_through_sealing_and_compaction(folder, encoder):
    """Two objects on one folder, as two processes would have: the reader's view is only ever brought up to date."""
    with Memory.open(folder, encoder=encoder) as reader:
        for round_number in range(12):
            with Memory.open(folder, encoder=encoder) as writer:
                writer.add([f"round {round_number} text {n}" for n in range(7)])
                if round_number % 3 == 2:
                    writer.delete(writer.ids()[: round_number * 4])
                if round_number % 2:
                    reader.search("round")  # sees every other state
                wanted = set(writer.ids())
            assert {hit.id for hit in reader.search("round", k=999)} == wanted


def test_a_failing_disk_for_the_cache_does_not_fail_the_add(folder, encoder, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(upkeep, "write_segment", refuse)
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add(TEXTS)
        assert len(memory.search("number", k=99)) == 30
    assert "no space left" in caplog.text
    with Memory.open(folder, encoder=encoder) as memory:
        assert len(memory) == 30


def test_the_file_format(filled):
    """Offsets as documented, so that another program could read a segment."""
    path = segment_files(filled)[0]
    content = path.read_bytes()
    assert content[:8] == b"ZENCODES"
    version, width = (int.from_bytes(content[at : at + 4], "little") for at in (8, 12))
    rows, first, last = (int.from_bytes(content[at : at + 8], "little") for at in (16, 24, 32))
    assert (version, width) == (2, 964)
    blocks = -(-rows // 16)
    seqs_at, codes_at = 128 + 768 * blocks, 128 + 768 * blocks + 8 * rows
    assert len(content) == codes_at + 964 * rows
    assert not any(content[72:128])
    seqs, codes, of_codes = map_segment(path.parent, Segment(first, last, rows, content[40:72]))
    assert codes.shape == (rows, 964)
    assert seqs.tobytes() == content[seqs_at:codes_at]
    assert codes.tobytes() == content[codes_at:]
    assert not codes.flags.writeable
    for row in range(rows):
        block, lane = divmod(row, 16)
        words = [128 + 768 * block + 128 * word + 8 * lane for word in range(6)]
        assert b"".join(content[at : at + 8] for at in words) == codes[row, 4:52].tobytes()
    assert np.array_equal(of_codes, column(codes))


def test_a_segment_of_version_1_is_written_anew(filled, encoder):
    """As a memory made by the first release has them: without a column, and with a checksum that fits."""
    expected = ranking(filled, encoder)
    database = sqlite3.connect(filled / "memory.sqlite3")
    path = segment_files(filled)[1]  # all of its rows are alive, so the new file is the same
    content = path.read_bytes()
    rows = int.from_bytes(content[16:24], "little")
    body = content[128 + 768 * -(-rows // 16) :]
    fields = content[:8] + (1).to_bytes(4, "little") + content[12:40]
    checksum = blake3(fields).update(body).digest()
    first = int.from_bytes(content[24:32], "little")
    old = Segment(first, int.from_bytes(content[32:40], "little"), rows, checksum)
    path.unlink()
    (path.parent / old.file_name).write_bytes(fields + checksum + body)
    database.execute("UPDATE segments SET checksum = ? WHERE first_seq = ?", (checksum, first))
    database.commit()
    database.close()
    assert ranking(filled, encoder) == expected
    assert path.read_bytes() == content
    assert not (path.parent / old.file_name).exists()
