"""PDF files: one section a page."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError

from zenso.errors import InputError
from zenso.memory.ingest.encoding import shown, without_surrogates
from zenso.memory.ingest.sections import Metadata, ReadWarning, Section

# pypdf reports each repaired oddity of a file to its logger; without a handler Python would print them on stderr.
logging.getLogger("pypdf").addHandler(logging.NullHandler())


def read_pdf(path: Path, data: bytes) -> Iterator[Section | ReadWarning]:
    """Read a PDF page by page; the metadata give ``page`` (from 1) and ``title`` where the file has one.

    A page that cannot be read gives a warning and the others go on.

    Raises
    ------
    InputError
        The file is damaged, or encrypted with a password.
    """
    reader, page_count, metadata = _open(path, data)
    found = False
    failed = 0
    for index in range(page_count):
        try:
            text = without_surrogates(reader.pages[index].extract_text())
        except Exception as error:  # noqa: BLE001 - a damaged page fails anywhere in the parser, with any error
            failed += 1
            yield ReadWarning(path, f"page {index + 1} cannot be read ({_first_line(error)}); export the PDF again")
            continue
        if text.strip():
            found = True
            yield Section(text, {**metadata, "page": index + 1}, "prose")
    if page_count and failed == page_count:
        raise InputError(f"{shown(path)}: no page of this PDF can be read; it is damaged: export it or fetch it again")
    if not found:
        yield ReadWarning(
            path, "the PDF holds no text; if its pages are scanned images, run text recognition (OCR) first"
        )


def _open(path: Path, data: bytes) -> tuple[PdfReader, int, Metadata]:
    try:
        reader = PdfReader(io.BytesIO(data))
        # Many files are encrypted with an empty password, which lets anybody read them.
        locked = reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED
        title = None if locked or reader.metadata is None else reader.metadata.title
        page_count = 0 if locked else len(reader.pages)
    except DependencyError as error:
        # The cipher is one that takes another package to undo.
        raise _encrypted(path) from error
    except Exception as error:
        # A damaged file fails anywhere in the parser, with any error.
        raise InputError(
            f"{shown(path)}: this PDF is damaged ({_first_line(error)}); export it or fetch it again"
        ) from error
    if locked:
        raise _encrypted(path)
    metadata: Metadata = {"title": without_surrogates(title.strip())} if title and title.strip() else {}
    return reader, page_count, metadata


def _encrypted(path: Path) -> InputError:
    return InputError(f"{shown(path)}: this PDF is encrypted; save a copy without a password and index that")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
