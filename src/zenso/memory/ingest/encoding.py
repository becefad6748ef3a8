"""From bytes to text: which bytes are text at all, and what becomes of bytes that are not UTF-8."""

import codecs
import os
import re
from pathlib import Path

REPLACEMENT = "\ufffd"

# UTF-32 comes first: its little-endian mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# As git does: text has no NUL near its start, nearly every binary format has one.
_BINARY_PROBE_BYTES = 8_000
# Western text in an 8-bit encoding loses a few letters in a hundred and stays worth finding; text in another
# script loses nearly all of them.
_MOST_REPLACED = 0.3
# Python's registry also holds codecs that make no text (hex) or read escapes in it. A file that declares UTF and is
# not UTF-8 declares wrongly.
_OLD_ENCODINGS = (
    "big5",
    "cp",
    "euc",
    "gb",
    "hz",
    "iso2022",
    "iso8859",
    "johab",
    "koi8",
    "kz1048",
    "mac",
    "shift",
    "tis",
)
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


class UndecodableError(ValueError):
    """The bytes are not text, or too little of them can be read; the message says which and what to do."""


def without_surrogates(text: str) -> str:
    """Text of the same length in which U+FFFD stands for each lone surrogate, so that UTF-8 can encode it."""
    return _LONE_SURROGATES.sub(REPLACEMENT, text)


def shown(path: Path) -> str:
    """Name of a file for a message; bytes of the name that are not in the file system's encoding become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def decode(data: bytes, declared: str | None = None) -> tuple[str, str | None]:
    r"""Text of a file, line ends as ``\n``, and a warning when bytes had to be replaced.

    A byte order mark decides; without one the bytes are UTF-8, or in the encoding that the file itself declares.
    Bytes that fit neither become U+FFFD: guessing an encoding would turn some files into wrong words silently.

    Parameters
    ----------
    data
        The whole file.
    declared
        Name of the encoding the file declares (the ``charset`` of a web page); unknown names count as none.

    Raises
    ------
    UndecodableError
        The bytes are binary, or nearly a third of the characters would be replaced.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    if encoding is None:
        if b"\0" in data[:_BINARY_PROBE_BYTES]:
            raise UndecodableError("binary: it has NUL bytes; give the text as UTF-8")
        encoding = "utf-8" if _is_utf8(data) else (_known_text_encoding(declared) or "utf-8")
    text = data.decode(encoding, "replace")
    replaced = text.count(REPLACEMENT) - data.count(REPLACEMENT.encode())
    if replaced > 0 and replaced > _MOST_REPLACED * len(text):
        raise UndecodableError(
            f"{replaced:,} of {len(text):,} characters are not {encoding.upper()}; convert the file to UTF-8, "
            "for example with iconv"
        )
    warning = None
    if replaced > 0:
        warning = f"{replaced:,} bytes are not {encoding.upper()} and became U+FFFD; convert the file to UTF-8"
    return without_surrogates(text).replace("\r\n", "\n").replace("\r", "\n"), warning


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _known_text_encoding(name: str | None) -> str | None:
    """Name of the codec, or None for names that are unknown or stand for something else than an old encoding."""
    try:
        codec = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        # ValueError: a name with a NUL.
        return None
    return codec if codec.startswith(_OLD_ENCODINGS) else None
