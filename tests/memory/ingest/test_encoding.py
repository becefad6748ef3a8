import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenso.memory.ingest.encoding import UndecodableError, decode, without_surrogates

TEXT = "naïve 漢字 שלום 😀\nsecond line"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
    ],
)
def test_unicode_encodings(data):
    assert decode(data) == (TEXT, None)


def test_bytes_that_are_not_utf8_are_replaced_and_reported():
    text, warning = decode("a café in a street".encode("latin-1"))
    assert text == "a caf\ufffd in a street"
    assert "1 bytes are not UTF-8" in warning


def test_replacement_characters_of_the_file_itself_are_no_problem():
    assert decode("\ufffd".encode() * 10) == ("\ufffd" * 10, None)


def test_text_in_another_encoding_is_refused_unless_declared():
    russian = "Поиск по памяти".encode("cp1251")
    with pytest.raises(UndecodableError, match="not UTF-8; convert the file to UTF-8"):
        decode(russian)
    assert decode(russian, "windows-1251") == ("Поиск по памяти", None)


@pytest.mark.parametrize(
    "declared", ["no such encoding", "hex", "rot13", "unicode_escape", "undefined", "utf-16", "", "\0"]
)
def test_useless_declarations_count_as_none(declared):
    assert decode(b"caf\xe9 au lait", declared)[0] == "caf\ufffd au lait"


def test_a_declaration_does_not_outweigh_valid_utf8():
    assert decode("é".encode(), "latin-1") == ("é", None)


def test_binary_is_refused():
    with pytest.raises(UndecodableError, match="NUL"):
        decode(b"\x7fELF\0\0\0")


@given(st.binary())
def test_any_bytes_are_text_or_refused(data):
    try:
        text, _ = decode(data)
    except UndecodableError:
        return
    text.encode("utf-8")


@given(st.text(st.characters()))
def test_surrogates_are_replaced_in_place(text):
    clean = without_surrogates(text)
    clean.encode("utf-8")
    assert len(clean) == len(text)
