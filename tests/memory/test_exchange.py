"""Documents leave a memory and come back as they were; bad files are refused with the place named."""

import gzip
import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zenso.errors import InputError, StorageError
from zenso.memory import Memory, check_memory
from zenso.memory.verify import verify_memory

ENDINGS = [".jsonl", ".jsonl.gz", ".parquet", ".npz"]
METADATA = {"lang": "en", "year": 1999, "share": 0.5, "flag": True, "none": None, "tags": ["a", 1, None], "ü": "\u2028"}


@pytest.fixture(params=ENDINGS)
def file(request, tmp_path):
    if request.param == ".parquet":
        pytest.importorskip("pyarrow", reason="the extra zenso[parquet] is not installed")
    return tmp_path / f"export{request.param}"


@pytest.fixture
def filled(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        memory.add([f"document number {n}" for n in range(300)], ids=[f"id {n}" for n in range(300)])
        memory.add(
            ["Bread\nneeds \u2028flour. \U0001f35e", "the same"], ids=["\u00e4 \U0001f600", "b"], metadata=METADATA
        )
        memory.add("the same", ids="c")
        memory.replace_source("/a.txt", "v1", ["from a file"], {"path": "/a.txt"})
        memory.delete("id 7")
    return folder


def documents(folder, encoder):
    with Memory.open(folder, encoder=encoder) as memory:
        return [(d.id, d.text, d.metadata) for d in memory]


@pytest.mark.parametrize("embeddings", [True, False])
def test_out_and_in(filled, encoder, file, tmp_path, embeddings):
    progress = []
    with Memory.open(filled, encoder=encoder) as memory:
        count = memory.export_to(file, embeddings=embeddings, on_progress=lambda *event: progress.append(event))
        assert count == len(memory) == 303
        expected = [(hit.id, hit.score) for hit in memory.search("number 7", k=20)]
    assert progress[-1] == (303, 303)
    assert [path.name for path in tmp_path.iterdir() if "export" in path.name] == [file.name]
    new = tmp_path / "new"
    encoder.encoded.clear()
    with Memory.open(new, encoder=encoder) as memory:
        report = memory.import_from(file, on_progress=lambda *event: progress.append(event))
        assert report.documents == 303
        with_them = embeddings or file.suffix == ".npz"
        assert report.embedded == (0 if with_them else 302)
        assert len(encoder.encoded) == report.embedded
        assert [(hit.id, hit.score) for hit in memory.search("number 7", k=20)] == expected
        assert memory.import_from(file).embedded == 0
        assert memory.search("flour", k=1, where={"tags": 1})[0].id == "\u00e4 \U0001f600"
    assert progress[-1] == (303, 303)
    assert documents(new, encoder) == documents(filled, encoder)
    assert check_memory(new).ok
    assert verify_memory(new, encoder).ok


def test_into_the_memory_it_came_from(filled, encoder, file):
    with Memory.open(filled, encoder=encoder) as memory:
        memory.export_to(file)
        before = documents(filled, encoder), memory.sources()
        encoder.encoded.clear()
        memory.delete("id 9")
        assert memory.import_from(file).embedded == (0 if file.suffix == ".npz" else 1)
        assert sorted(documents(filled, encoder)) == sorted(before[0])
        assert memory.sources() == before[1]


def test_embeddings_of_another_model_are_not_taken_over(filled, encoder, other_encoder, file, tmp_path):
    with Memory.open(filled, encoder=encoder) as memory:
        memory.export_to(file, embeddings=True)
    with Memory.open(tmp_path / "new", encoder=other_encoder) as memory:
        assert memory.import_from(file).embedded == 302
    assert verify_memory(tmp_path / "new", other_encoder).ok


def test_an_empty_memory(folder, encoder, file, tmp_path):
    with Memory.open(folder, encoder=encoder) as memory:
        assert memory.export_to(file, embeddings=True) == 0
        assert memory.import_from(file).documents == 0


@pytest.mark.parametrize("part", ["vector", "code", "content_hash", "chunk_id", "text", "id"])
def test_a_changed_embedding_is_made_anew(filled, encoder, tmp_path, part):
    file = tmp_path / "a.jsonl"
    with Memory.open(filled, encoder=encoder) as memory:
        memory.export_to(file, embeddings=True)
    lines = file.read_text().split("\n")
    value = json.loads(lines[5])
    if part in ("text", "id"):
        value[part] += "!"
    elif part == "vector":
        value["embedding"]["vector"][3] ^= 1
    else:
        old = value["embedding"][part]
        changed = "B" if old[20] == "A" else "A"
        value["embedding"][part] = old[:20] + changed + old[21:] if part == "code" else "00" + old[2:]
    lines[5] = json.dumps(value)
    file.write_text("\n".join(lines))
    with Memory.open(tmp_path / "new", encoder=encoder) as memory:
        assert memory.import_from(file).embedded == 1
    assert verify_memory(tmp_path / "new", encoder).ok


def test_numpy_reads_an_archive(filled, encoder, tmp_path):
    file = tmp_path / "a.npz"
    with Memory.open(filled, encoder=encoder) as memory:
        memory.export_to(file)
        ids = memory.ids()
    with np.load(file) as archive:
        assert archive["ids"].tolist() == ids
        assert (archive["vectors"].shape, archive["vectors"].dtype) == ((303, 384), np.int16)
        assert (archive["codes"].shape, archive["codes"].dtype) == ((303, 964), np.uint8)
        expected = encoder.encode_documents(["document number 0"])
        assert (archive["vectors"][0] == expected.vectors[0]).all()
        assert (archive["codes"][0] == expected.codes[0]).all()
        assert json.loads(str(archive["provenance"])) == json.loads(encoder.provenance.to_json())


def test_pyarrow_reads_a_table(filled, encoder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra zenso[parquet] is not installed")
    file = tmp_path / "a.parquet"
    with Memory.open(filled, encoder=encoder) as memory:
        memory.export_to(file)
        assert parquet.read_table(file).column_names == ["id", "text", "metadata"]
        memory.export_to(file, embeddings=True)
    table = parquet.read_table(file)
    assert table.num_rows == 303
    assert len(table["vector"][0].as_py()) == 384
    assert len(table["code"][0].as_py()) == 964


def test_a_table_of_another_program(folder, encoder, tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="the extra zenso[parquet] is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"text": "one", "metadata": {"n": 1, "s": "x"}}, {"text": "two", "metadata": {"n": 2, "s": None}}]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with Memory.open(folder, encoder=encoder) as memory:
        memory.import_from(tmp_path / "a.parquet")
        assert [(d.text, d.metadata) for d in memory] == [(row["text"], row["metadata"]) for row in rows]
        parquet.write_table(arrow.table({"content": ["x"]}), tmp_path / "b.parquet")
        with pytest.raises(InputError, match="no column 'text'"):
            memory.import_from(tmp_path / "b.parquet")
        parquet.write_table(arrow.table({"text": ["x"], "year": [1]}), tmp_path / "b.parquet")
        with pytest.raises(InputError, match="unknown column 'year'"):
            memory.import_from(tmp_path / "b.parquet")
        parquet.write_table(arrow.table({"text": ["x", " "]}), tmp_path / "b.parquet")
        with pytest.raises(InputError, match=r"row 2: texts\[0\] is only white space"):
            memory.import_from(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: not JSON"),
        ("[]", "line 3: list where an object"),
        ("{}", "line 3: no 'text'"),
        ('{"text": 1}', "line 3: .*type int"),
        ('{"text": ""}', "line 3: .*empty"),
        ('{"text": "a", "id": 5}', "line 3: .*5"),
        ('{"text": "a", "title": "b"}', "line 3: unknown key 'title'"),
        ('{"text": "a", "metadata": {"a": {"b": 1}}}', "line 3: metadata 'a'"),
        ('{"text": "a", "embedding": {"code": 1}}', "line 3: an embedding that cannot be read"),
        (b"\xff", "line 3: not JSON"),
    ],
)
def test_a_bad_line_is_named(folder, encoder, tmp_path, line, message):
    file = tmp_path / "a.jsonl"
    content = line if isinstance(line, bytes) else line.encode()
    file.write_bytes(b'{"text": "one"}\n\n' + content + b"\n")
    with Memory.open(folder, encoder=encoder) as memory:
        with pytest.raises(InputError, match=message):
            memory.import_from(file)
        file.write_text('{"text": "one"}\n\n{"text": "two", "id": "2"}')
        assert memory.import_from(file).documents == 2
        assert [document.text for document in memory] == ["one", "two"]


def test_files_that_are_none(filled, encoder, tmp_path):
    with Memory.open(filled, encoder=encoder) as memory:
        for name, content, message in (
            ("a.txt", b"", "unknown format"),
            ("a.jsonl.gz", b"no gzip", "not a whole gzip file"),
            ("b.jsonl.gz", gzip.compress(b'{"text": "one"}\n' * 99)[:-9], "not a whole gzip file"),
            ("a.npz", b"no zip", "not an archive"),
            ("a.jsonl", b'{"zenso_export": 9}', "version 9"),
        ):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match=message):
                memory.import_from(tmp_path / name)
        with pytest.raises(InputError, match="no file"):
            memory.import_from(tmp_path / "none.jsonl")
        with pytest.raises(StorageError, match="none"):
            memory.export_to(tmp_path / "none" / "a.jsonl")
        file = tmp_path / "c.npz"
        memory.export_to(file)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(InputError, match="damaged after row"):
            memory.import_from(file)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("ids.npy", b"")
        with pytest.raises(InputError, match="not an archive"):
            memory.import_from(file)


def test_a_failing_export_leaves_the_old_file(filled, encoder, tmp_path):
    file = tmp_path / "a.npz"
    with Memory.open(filled, encoder=encoder) as memory:
        memory.export_to(file)
        before = file.read_bytes()
        memory.add("one", ids="ends with null\0")
        with pytest.raises(InputError, match="null character"):
            memory.export_to(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.npz"]


characters = st.characters(codec="utf-8")
ids = st.text(characters, min_size=1, max_size=9).filter(lambda name: not name.endswith("\0"))
names = st.text(characters, min_size=1, max_size=5).filter(lambda name: name[0] != "$")
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | st.booleans() | numbers | st.lists(st.text(characters, max_size=3), max_size=3)
texts = st.sampled_from(["one", "two", "\u00e9\n\u2029", " \ufeffthree\r\n"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(ids, st.tuples(texts, st.dictionaries(names, values, max_size=3)), max_size=5))
def test_anything_comes_back(encoder, file, tmp_path_factory, content):
    place = tmp_path_factory.mktemp("exchange")
    with Memory.open(place / "a", encoder=encoder) as memory:
        if content:
            texts, metadata = zip(*content.values(), strict=True)
            memory.add(list(texts), ids=list(content), metadata=list(metadata))
        memory.export_to(file, embeddings=True)
    with Memory.open(place / "b", encoder=encoder) as memory:
        assert memory.import_from(file).embedded == 0
    assert documents(place / "a", encoder) == documents(place / "b", encoder)
