"""Web pages: the text a reader would see, with the block structure kept as line breaks."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
from bs4.dammit import EncodingDetector
from bs4.element import NavigableString, PageElement, PreformattedString, Tag
from bs4.exceptions import ParserRejectedMarkup

from zenso.errors import InputError
from zenso.memory.ingest.encoding import decode, shown
from zenso.memory.ingest.sections import Metadata, ReadWarning, Section

_UNSEEN = frozenset({"script", "style", "template", "noscript", "title", "svg", "math", "iframe", "object"})
# Line breaks around a block. The splitter takes more breaks in a row for a stronger boundary, so a heading
# stands further from what precedes it than one paragraph from the next.
_HEADING_BREAKS = 3
_BREAKS = {
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), _HEADING_BREAKS),
    **dict.fromkeys(("p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "blockquote"), 2),
    **dict.fromkeys(("pre", "ul", "ol", "dl", "table", "hr", "body", "details", "fieldset", "figure", "form"), 2),
    **dict.fromkeys(("br", "li", "tr", "dt", "dd", "caption", "figcaption", "summary", "option"), 1),
}
_CELLS = frozenset({"td", "th"})
_WHITESPACE = re.compile(r"\s+")


def read_html(path: Path, data: bytes) -> Iterator[Section | ReadWarning]:
    """Read a web page as one section of prose; its title goes to the metadata.

    Raises
    ------
    InputError
        The markup is broken beyond what the parser repairs.
    UndecodableError
        The bytes are not text.
    """
    markup, warning = decode(data, EncodingDetector.find_declared_encoding(data, is_html=True))
    if warning is not None:
        yield ReadWarning(path, warning)
    try:
        with warnings.catch_warnings():
            # Both are advice to a programmer: XHTML reads well enough as HTML, and a page may hold a bare address.
            warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
            warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
            soup = BeautifulSoup(markup, "html.parser")
    except ParserRejectedMarkup as error:
        raise InputError(
            f"{shown(path)}: this is not HTML that can be parsed ({error}); save the page again"
        ) from error
    metadata: Metadata = {}
    if soup.title is not None and (title := _WHITESPACE.sub(" ", soup.title.get_text()).strip()):
        metadata["title"] = title
    yield Section(_text(soup), metadata, "prose")


class _Verbatim(str):
    """Text whose blanks and line breaks are its author's."""

    __slots__ = ()


def _text(root: Tag) -> str:
    """Join the pieces, with one blank at most between words and the strongest of the line breaks between blocks."""
    written: list[str] = []
    breaks = 0
    for piece in _pieces(root):
        if isinstance(piece, int):
            breaks = max(breaks, piece)
            continue
        at_blank = breaks > 0 or not written or written[-1].endswith(" ")
        words = piece.lstrip(" ") if at_blank and not isinstance(piece, _Verbatim) else piece
        if not words:
            continue
        if breaks and written:
            written[-1] = written[-1].rstrip(" ")
            written.append("\n" * breaks)
        breaks = 0
        written.append(words)
    return "".join(written).strip()


def _pieces(root: Tag) -> Iterator[str | int]:
    """Text and numbers of line breaks in document order; a stack, since pages nest deeper than Python recurses."""
    pending: list[PageElement | int] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, int):
            yield node
        elif isinstance(node, Tag):
            if node.name in _UNSEEN:
                continue
            breaks = _BREAKS.get(node.name, 0)
            if breaks:
                yield breaks
                pending.append(min(breaks, 2))
            if node.name == "pre":
                yield _Verbatim(node.get_text().strip("\n"))
                continue
            if node.name in _CELLS:
                yield " "
            pending.extend(reversed(node.contents))
        elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
            yield _WHITESPACE.sub(" ", node)
