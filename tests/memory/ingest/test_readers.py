import codecs
import io
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from tests.memory.ingest.pdf import make_pdf
from zenso.errors import InputError
from zenso.memory.ingest import ReadWarning, Section, Skipped, read_file


@pytest.fixture
def read(tmp_path):
    """Write a file and read it back: its sections, and the messages of its warnings and skips."""

    def write_and_read(name, content, **limits):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        items = list(read_file(path, **limits))
        sections = [item for item in items if isinstance(item, Section)]
        return sections, [
            item.message if isinstance(item, ReadWarning) else item.reason for item in items if item not in sections
        ]

    return write_and_read


def encrypt(data: bytes, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


# Text and code


@pytest.mark.parametrize(
    ("name", "kind", "metadata"),
    [
        ("a.txt", "prose", {}),
        ("a.rst", "prose", {}),
        ("README", "prose", {}),
        ("a.unknown", "prose", {}),
        ("a.md", "markdown", {}),
        ("A.MD", "markdown", {}),
        ("a.py", "code", {"language": "python"}),
        ("a.rs", "code", {"language": "rust"}),
        ("a.json", "code", {"language": "json"}),
        ("a.yaml", "code", {"language": "yaml"}),
    ],
)
def test_text_is_one_section(read, name, kind, metadata):
    assert read(name, "some text\n") == ([Section("some text\n", metadata, kind)], [])


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.jsonl", "a.csv", "a.py"])
@pytest.mark.parametrize("content", ["", "   \n\t \n", "\ufeff"])
def test_files_without_text_have_no_sections(read, name, content):
    assert read(name, content) == ([], [])


@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.jsonl", "a.csv", "a.py", "a"])
def test_binary_content_is_skipped_with_a_reason(read, name):
    sections, messages = read(name, b"\x89PNG\r\n\0\0\0\rIHDR")
    assert sections == []
    assert len(messages) == 1
    assert "NUL" in messages[0]


def test_bytes_that_are_not_utf8_give_text_and_a_warning(read):
    sections, messages = read("a.txt", "déjà vu, a café in a long street".encode("cp1252"))
    assert sections[0].text == "d\ufffdj\ufffd vu, a caf\ufffd in a long street"
    assert len(messages) == 1
    assert "convert the file to UTF-8" in messages[0]


def test_utf16_with_its_mark(read):
    assert read("a.txt", codecs.BOM_UTF16_BE + "Größe".encode("utf-16-be"))[0][0].text == "Größe"


@pytest.mark.parametrize("text", ["\x01\x02 control \x7f", "שלום עולם", "漢字かな", "👩‍👩‍👧 😀"])
def test_unusual_text_is_kept(read, text):
    assert read("a.txt", text)[0][0].text == text


def test_ten_megabytes_of_text(read):
    sections, messages = read("a.txt", "word " * 2_000_000)
    assert len(sections[0].text) == 10_000_000
    assert messages == []


def test_too_large_files_are_skipped(read):
    sections, messages = read("a.txt", "x" * 1_001, max_bytes=1_000)
    assert sections == []
    assert messages == ["1,001 bytes, more than the limit of 1,000; split it or raise the limit"]


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: no such file"):
        list(read_file(tmp_path / "gone.txt"))


def test_a_folder_is_skipped(tmp_path):
    assert [type(item) for item in read_file(tmp_path)] == [Skipped]


# HTML

PAGE = """<!DOCTYPE html><html><head><title> A  page </title><style>p {}</style><script>var x = "<p>no</p>";</script>
</head>
<body><!-- comment --><nav>Menu</nav><h1>Heading</h1><p>First <b>bold</b>
  words &amp; more.</p><p>Second<br>line</p><ul><li>one<li>two</ul><pre>  kept
    as is</pre><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>end</body></html>"""


def test_html_keeps_blocks_and_drops_what_is_not_seen(read):
    sections, messages = read("a.html", PAGE)
    assert messages == []
    assert sections == [
        Section(
            "Menu\n\n\nHeading\n\nFirst bold words & more.\n\nSecond\nline\n\none\ntwo\n\n"
            "  kept\n    as is\n\na b\nc\n\nend",
            {"title": "A page"},
            "prose",
        )
    ]


@pytest.mark.parametrize(
    "page",
    [
        "no markup at all",
        "https://example.org/",
        "a.txt",
        "<?xml version='1.0'?><html><body><p>text</p></body></html>",
        "<div>" * 20_000 + "deep" + "</div>" * 20_000,
        "<p>unclosed <b>and <i>crossed</b> tags",
        "<![CDATA[x]]><p>after",
        "<!ENTITY x><p>&#xd800; &#0; &unknown; <",
    ],
)
def test_odd_pages_are_read_without_noise(read, page):
    sections, messages = read("a.html", page)
    assert messages == []
    sections[0].text.encode("utf-8")


def test_html_may_declare_its_encoding(read):
    page = '<meta charset="windows-1251"><p>Поиск по памяти</p>'.encode("cp1251")
    assert read("a.html", page)[0][0].text == "Поиск по памяти"


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<", ">", "<!", "<![", "]]>", "<!--", "-->", "&#", "<?", "/>", "<pre>", "<title>", "x "]
        )
    ).map("".join)
)
def test_any_markup_is_read_or_refused(read, markup):
    with suppress(InputError):
        read("any.html", markup)


# PDF


def test_pdf_has_a_section_a_page(read):
    assert read("a.pdf", make_pdf("First page.", "Second page.", title="A title")) == (
        [
            Section("First page.", {"title": "A title", "page": 1}),
            Section("Second page.", {"title": "A title", "page": 2}),
        ],
        [],
    )


def test_pdf_without_text_gets_a_hint(read):
    sections, messages = read("a.pdf", make_pdf("", ""))
    assert sections == []
    assert len(messages) == 1
    assert "OCR" in messages[0]


@pytest.mark.parametrize("data", [b"%PDF-1.4\n", b"this is no PDF", make_pdf("text")[:200], b"\0" * 1_000])
def test_corrupt_pdf_is_named_with_a_remedy(read, data, capfd):
    with pytest.raises(InputError, match=r"report\.pdf: .*again"):
        read("report.pdf", data)
    assert capfd.readouterr() == ("", "")


def test_encrypted_pdf_is_named_with_a_remedy(read):
    with pytest.raises(InputError, match=r"secret\.pdf: this PDF is encrypted; save a copy without a password"):
        read("secret.pdf", encrypt(make_pdf("text"), "secret"))


def test_pdf_encrypted_with_an_empty_password_is_read(read):
    assert read("a.pdf", encrypt(make_pdf("open text"), ""))[0][0].text == "open text"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 900), at=st.integers(0, 900), junk=st.binary(max_size=8))
def test_any_damage_to_a_pdf_is_read_or_refused(read, cut, at, junk):
    data = make_pdf("First page.", "Second page.")
    damaged = data[:at] + junk + data[at + len(junk) :]
    with suppress(InputError):
        read("damaged.pdf", damaged[: len(damaged) - cut])


# JSON lines


def test_json_lines_have_text_title_id_and_metadata(read):
    lines = [
        {
            "_id": "d1",
            "title": "On dogs",
            "text": "A dog barks.",
            "year": 1999,
            "score": 0.5,
            "open": True,
            "tags": ["x"],
        },
        {"id": 7, "content": "Content.", "nothing": None, "nested": {"a": 1}},
        {"Body": "Body.", "big": 1 << 70},
        "a plain string",
    ]
    sections, messages = read("a.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert messages == []
    assert [section.text for section in sections] == ["On dogs A dog barks.", "Content.", "Body.", "a plain string"]
    assert sections[0].metadata == {"line": 1, "id": "d1", "title": "On dogs", "year": 1999, "score": 0.5, "open": True}
    assert sections[1].metadata == {"line": 2, "id": 7}
    assert sections[2].metadata == {"line": 3, "big": str(1 << 70)}


def test_bad_json_lines_are_named_and_the_rest_goes_on(read):
    lines = [
        '{"text": "good"}',
        '{"text": broken',
        '{"text": ""}',
        "[1, 2]",
        "[" * 100_000,
        '{"text": "\\ud800 half", "\\udfff": "x", "score": NaN}',
        '{"text": 5, "body": "second choice"}',
    ]
    sections, messages = read("a.jsonl", "\n".join(lines))
    assert [section.text for section in sections] == ["good", "\ufffd half", "second choice"]
    assert sections[1].metadata == {"line": 6, "\ufffd": "x"}
    assert [message.split(" ")[:2] for message in messages] == [["line", str(number)] for number in (2, 3, 4, 5)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["text", "title", "_id", "id", "body", "x"]),
            st.none() | st.text() | st.floats() | st.integers(),
        )
    )
)
def test_any_records_are_read(read, records):
    sections, _ = read("any.jsonl", "\n".join(json.dumps(record) for record in records))
    for section in sections:
        json.dumps(section.metadata, allow_nan=False)
        section.text.encode("utf-8")


# CSV


def test_csv_with_a_text_column(read):
    sections, messages = read("a.csv", 'id,title,Text,code\n1,Dogs,"They bark, often.\nAlways.",007\n2,,Meow.,\n')
    assert messages == []
    assert sections == [
        Section("Dogs They bark, often.\nAlways.", {"line": 3, "id": "1", "title": "Dogs", "code": "007"}),
        Section("Meow.", {"line": 4, "id": "2"}),
    ]


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.csv", "|"), ("a.tsv", "\t")]
)
def test_delimiters_are_found(read, name, delimiter):
    rows = [["name", "legs", "sound"], ["dog", "4", "bark, woof"], ["duck", "2", "quack; quack"]]
    content = "\n".join(delimiter.join(f'"{field}"' for field in row) for row in rows)
    assert [section.text for section in read(name, content)[0]] == [
        "name: dog\nlegs: 4\nsound: bark, woof",
        "name: duck\nlegs: 2\nsound: quack; quack",
    ]


def test_csv_without_a_text_column_has_lines_of_columns_and_values(read):
    sections, _ = read("a.csv", "name,,legs\ndog,x,4\n,,\n")
    assert sections == [
        Section("name: dog\ncolumn 2: x\nlegs: 4", {"line": 2, "name": "dog", "column 2": "x", "legs": "4"})
    ]


def test_surplus_fields_belong_to_the_last_column(read):
    sections, _ = read("a.csv", "text\nhello, world, again\nplain\n")
    assert [section.text for section in sections] == ["hello, world, again", "plain"]
    sections, _ = read("b.csv", "n,text\n1,hello, world\n2\n")
    assert [section.text for section in sections] == ["hello, world", "n: 2"]


def test_a_field_without_end_is_named_and_the_rest_goes_on(read):
    sections, messages = read("a.csv", "n,text\n1,good\n2," + "x" * 200_000 + "\n3,fine\n")
    assert [section.text for section in sections] == ["good", "fine"]
    assert len(messages) == 1
    assert "line 3" in messages[0]


def test_an_unclosed_quote_is_no_crash(read):
    sections, _ = read("a.csv", 'n,text\n1,good\n2,"never closed\n3,more\n')
    assert sections[0].text == "good"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("ab,;|\t\"'\n\r \x01é")))
def test_any_table_is_read(read, content):
    read("any.csv", content)


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are a matter of POSIX")
def test_a_name_that_is_not_utf8_can_be_shown(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.pdf"))
    try:
        path.write_bytes(b"no PDF")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(InputError) as caught:
        list(read_file(path))
    str(caught.value).encode("utf-8")
