"""`zenso backup`, `snapshots`, `restore`, `check`, `reembed` and `compact` on a real memory."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from zenso.memory.database import FILE_NAME


@pytest.fixture
def memory(notes, zenso_here):
    shutil.copytree(notes, zenso_here.place / "notes.zenso")
    return zenso_here.place / "notes.zenso"


def edit(memory, statement):
    with closing(sqlite3.connect(memory / FILE_NAME, isolation_level=None)) as connection:
        connection.execute(statement)


def found(zenso_here, memory):
    return {hit["id"] for hit in zenso_here("search", "water", "-m", memory, "-k", 99, "--json").json["hits"]}


def test_back_up_list_and_restore(zenso_here, memory):
    before = found(zenso_here, memory)
    assert "4 documents" in zenso_here("backup", memory, "safe").out
    edit(memory, "DELETE FROM documents WHERE seq = 1")
    taken = zenso_here("backup", memory, "safe", "--json").json
    assert (taken["snapshot"]["documents"], taken["deleted"]) == (3, [])
    listed = zenso_here("snapshots", "safe", "--json").json
    assert [snapshot["documents"] for snapshot in listed] == [4, 3]
    shown = zenso_here("snapshots", "safe").out
    assert all(snapshot["path"].rsplit("/", 1)[-1] in shown for snapshot in listed)
    assert zenso_here("restore", listed[0]["path"], memory, code=1).is_one_error_line
    assert found(zenso_here, memory) != before
    restored = zenso_here("restore", listed[0]["path"], memory, "--force", "--json").json
    assert restored["snapshot"] == listed[0]
    assert found(zenso_here, memory) == before
    assert "3 documents" in zenso_here("restore", listed[1]["path"], "other.zenso").out
    kept = zenso_here("backup", memory, "safe", "--keep", 1, "--json").json
    assert kept["deleted"] == [snapshot["path"] for snapshot in listed]
    assert len(zenso_here("snapshots", "safe", "--json").json) == 1


def test_errors_are_one_line(zenso_here, memory):
    for arguments in (
        ["backup", "none.zenso", "safe"],
        ["snapshots", "none"],
        ["restore", "none", "new.zenso"],
        ["restore", memory, "new.zenso"],
        ["check", "none.zenso"],
        ["reembed", "none.zenso"],
        ["reembed", memory, "--model", "no-such-model"],
        ["compact", "none.zenso"],
    ):
        assert zenso_here(*arguments, code=1).is_one_error_line
    assert not (zenso_here.place / "none.zenso").exists()


def test_check_repair_and_embed_again(zenso, memory):
    assert "nothing wrong" in zenso("check", memory).out
    clean = zenso("check", memory, "--json").json
    assert (clean["ok"], clean["documents"], clean["findings"]) == (True, 4, [])
    edit(memory, "UPDATE embeddings SET vector = zeroblob(768) WHERE seq = 2")
    result = zenso("check", code=1, environment={"ZENSO_MEMORY": str(memory)})
    assert "corrupted vector" in result.out
    assert "--repair" in result.out
    repaired = zenso("check", memory, "--repair", "--json", code=1).json
    assert [finding["fault"] for finding in repaired["findings"]] == ["not embedded"]
    assert [finding["fault"] for finding in repaired["repaired"]] == ["corrupted vector"]
    assert "zenso reembed" in zenso("check", memory, code=1).out
    assert "1 of 4 documents" in zenso("reembed", memory).out
    assert zenso("reembed", memory, "--json").json["embedded"] == 0
    assert zenso("check", memory, "--json").json["ok"]
    assert "no mismatch" in zenso("verify", "-m", memory).out


def test_compact(zenso_here, memory):
    before = found(zenso_here, memory)
    result = zenso_here("compact", memory, "--json").json
    assert 0 < result["bytes_after"] <= result["bytes_before"]
    assert " now" in zenso_here("compact", memory).out
    assert found(zenso_here, memory) == before


def test_export_and_import(zenso_here, memory):
    before = found(zenso_here, memory)
    for name in ("plain.jsonl", "packed.jsonl.gz", "arrays.npz"):
        assert zenso_here("export", memory, name, "--json").json["documents"] == 4
        result = zenso_here("import", f"{name}.zenso", name, "--json").json
        assert (result["documents"], result["held"]) == (4, 4)
        assert result["embedded"] == (0 if name == "arrays.npz" else 4)
        assert found(zenso_here, f"{name}.zenso") == before
    assert "4 documents" in zenso_here("export", memory, "whole.jsonl", "--embeddings").out
    assert "0 texts embedded" in zenso_here("import", "new.zenso", "whole.jsonl").out
    (zenso_here.place / "bad.jsonl").write_text('{"text": "one"}\n{"text": 2}\n')
    bad = zenso_here("import", "new.zenso", "bad.jsonl", code=1)
    assert bad.is_one_error_line
    assert "line 2" in bad.err
    assert zenso_here("export", "none.zenso", "a.jsonl", code=1).is_one_error_line
