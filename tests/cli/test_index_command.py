import json

from tests.memory.ingest.pdf import make_pdf

FORMATS = {
    "notes.txt": b"Tomatoes want sun and a lot of water.",
    "guide.md": b"# Bread\n\nBread needs flour, water, salt and time.",
    "manual.rst": b"Sailing\n=======\n\nA sail turns wind into motion.",
    "page.html": b"<title>Volcanoes</title><p>Lava flows out of a crater.</p>",
    "paper.pdf": make_pdf("Glaciers move slowly downhill.", "Icebergs break off at the coast.", title="Ice"),
    "records.jsonl": (
        b'{"text": "A whale hunt at sea", "year": 1851}\n{"text": "A mountain sanatorium", "year": 1924}\n'
    ),
    "table.csv": b"animal,sound\ndog,bark\ncat,purr\n",
    "code.py": b'def parse_date(text):\n    """Parse a date."""\n',
    "README": b"Read this first.",
}


def write_formats(folder):
    folder.mkdir()
    for name, content in FORMATS.items():
        (folder / name).write_bytes(content)


def test_a_folder_of_every_format(zenso):
    folder = zenso.place / "files"
    write_formats(folder)
    first = zenso("index", "files", "--json").json
    assert (first["added"], first["unchanged"], first["skipped"], first["warnings"]) == (9, 0, [], [])
    assert first["chunks"] == first["documents"] == 12
    second = zenso("index", "files", "--json").json
    assert (second["added"], second["unchanged"], second["chunks"], second["documents"]) == (0, 9, 0, 12)

    def best(query, *options):
        return zenso("search", query, "-k", "1", "--json", *options).json["hits"][0]

    hit = best("ice that floats away")
    assert (hit["path"], hit["metadata"]["page"], hit["metadata"]["title"]) == (str(folder / "paper.pdf"), 2, "Ice")
    assert best("a novel", "--where", "year=1924")["text"] == "A mountain sanatorium"
    (folder / "notes.txt").write_text("Potatoes grow below the ground.")
    (folder / "guide.md").unlink()
    third = zenso("index", "files", "--json").json
    assert (third["added"], third["updated"], third["unchanged"], third["removed"]) == (0, 1, 7, 1)
    assert third["documents"] == 11
    assert best("vegetables")["text"] == "Potatoes grow below the ground."


def test_what_is_said(zenso):
    write_formats(zenso.place / "files")
    (zenso.place / "files" / "broken.pdf").write_bytes(b"%PDF-1.7 nothing more")
    (zenso.place / "files" / "old.txt").write_bytes("na\xefve caf\xe9".encode("latin-1"))
    result = zenso("index", "files", "--memory", "m.zenso")
    assert result.out.startswith("files: 10 added, 0 updated, 0 unchanged, 1 skipped; 13 new chunks in ")
    assert result.out.endswith(" s. m.zenso holds 13 chunks.\n")
    lines = sorted(result.err.splitlines())
    assert lines[0].startswith("skipped files/broken.pdf: this PDF is damaged")
    assert lines[1].startswith("warning: files/old.txt: 2 bytes are not UTF-8")
    assert len(lines) == 2


def test_the_memory_may_come_from_the_environment(zenso):
    (zenso.place / "a.txt").write_text("some text")
    place = {"ZENSO_MEMORY": "elsewhere"}
    assert zenso("index", "a.txt", "--json", environment=place).json["memory"] == "elsewhere"
    assert zenso("search", "text", "--json", environment=place).json["documents"] == 1
    assert not (zenso.place / "memory.zenso").exists()


def test_a_path_that_is_not_there(zenso):
    result = zenso("index", "a\nb.txt", code=1)
    assert result.is_one_error_line
    assert "no such file" in result.err


def test_nothing_readable_is_an_error(zenso):
    (zenso.place / "broken.pdf").write_bytes(b"%PDF-1.7 nothing more")
    result = zenso("index", "broken.pdf", "--json", code=1)
    assert json.loads(result.out)["skipped"][0]["path"] == "broken.pdf"
    assert "error: nothing was indexed: 1 path skipped" in result.err


def test_token_numbers(zenso):
    (zenso.place / "a.txt").write_text("one two three. " * 20)
    assert zenso("index", "a.txt", "--max-tokens", "20", "--overlap", "4", "--json").json["chunks"] > 3
    assert zenso("index", "a.txt", "--max-tokens", "300", code=2).out == ""
    (zenso.place / "b.txt").write_text("new")
    result = zenso("index", "b.txt", "--max-tokens", "20", "--overlap", "30", code=1)
    assert result.is_one_error_line
