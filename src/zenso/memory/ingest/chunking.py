"""Cuts a section into chunks that fit the model, at the boundaries its author set."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from zenso.errors import InputError
from zenso.memory.ingest.encoding import without_surrogates
from zenso.memory.ingest.sections import Kind

WINDOW_CHARS: Final = 10_000
"""Longest stretch handed to the splitter, and so the longest chunk: canonical inference reads no further."""

# Where a long text may be cut into windows, best first. Each pattern ends behind the boundary.
_WINDOW_BOUNDARIES = (re.compile(r"\n[ \t]*\n+"), re.compile(r"\n"), re.compile(r"\s+"))

_GAP_CHARS = 16
# Whitespace, control characters and marks, of which a tokenizer may make nothing; letters, digits and ASCII
# punctuation always give a token.
_GAP = re.compile(rf"[^\w!-~]{{{_GAP_CHARS + 1},}}")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a section: ``text`` is ``section_text[start:end]``, offsets in characters, ends without whitespace.

    Lone surrogates of the section are U+FFFD in the chunk.
    """

    text: str
    start: int
    end: int


class Chunker:
    """Cuts text at headings, paragraphs and sentences into chunks of a bounded number of tokens.

    A chunk is filled as far as the structure allows. The next one repeats the last pieces before it (sentences, lines,
    or words where a sentence had to be cut) that fit into ``overlap`` tokens; where the last piece is longer than
    that, neighbours share nothing.

    Parameters
    ----------
    tokenizer
        The model's tokenizer. Its truncation and padding are ignored, and it is not changed.
    max_tokens
        Most tokens of a chunk, special tokens (``[CLS]``, ``[SEP]``) included.
    overlap
        Most tokens that neighbours share.

    Raises
    ------
    InputError
        ``max_tokens`` leaves no room beside the special tokens and the overlap.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int = 256, overlap: int = 32) -> None:
        capacity = max_tokens - tokenizer.num_special_tokens_to_add(is_pair=False)
        if not 0 <= overlap < capacity:
            raise InputError(
                f"max_tokens={max_tokens} and overlap={overlap} do not go together: beside the special tokens a chunk "
                f"has room for {max(capacity, 0)}, and the overlap must be less; raise max_tokens or lower overlap"
            )
        # A truncating tokenizer would count every long text as one that fits.
        self._tokenizer: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # The splitter's capacity does not count special tokens.
        text_splitter = TextSplitter.from_huggingface_tokenizer(self._tokenizer, capacity, overlap=overlap)
        markdown_splitter = MarkdownSplitter.from_huggingface_tokenizer(self._tokenizer, capacity, overlap=overlap)
        self._splitters: dict[Kind, TextSplitter | MarkdownSplitter] = {
            "prose": text_splitter,
            "code": text_splitter,
            "markdown": markdown_splitter,
        }

    def chunks(self, text: str, kind: Kind = "prose") -> list[Chunk]:
        """Chunks in the order of the text.

        Together they hold every character that the tokenizer sees: what is left out is whitespace, and stretches
        (control characters alone) that give no token at all and could never be found.
        """
        text = without_surrogates(text)
        found: list[Chunk] = []
        windows = [window for start, end in _windows(text) if (window := self._window(text[start:end], start))]
        # All at once, since the splitter spreads them over the processor's cores.
        pieces = self._splitters[kind].chunk_all_indices([window.text for window in windows])
        for window, window_pieces in zip(windows, pieces, strict=True):
            for offset, piece in window_pieces:
                start = window.offset_in_section(offset)
                end = window.offset_in_section(offset + len(piece) - 1) + 1
                body = text[start:end].strip()
                start += len(text[start:end]) - len(text[start:end].lstrip())
                # An overlap may repeat all that was left of a window.
                is_new = not found or start + len(body) > found[-1].end
                if body and is_new and self._has_token(body):
                    found.append(Chunk(body, start, start + len(body)))
        return found

    def _window(self, text: str, start: int) -> "_Window | None":
        """Prepare a stretch of the section for the splitter; None when it has no token."""
        if _GAP.search(text) is None:
            return _Window(text, start, None)
        spans = self._tokenizer.encode(text, add_special_tokens=False).offsets
        if not spans:
            return None
        kept: list[int] = []
        position = 0
        for token_start, token_end in [*spans, (len(text), len(text))]:
            if token_start - position > _GAP_CHARS:
                kept += _kept_of_gap(text, position, token_start)
                position = token_start
            if token_end > position:
                kept += range(position, token_end)
                position = token_end
        return _Window("".join(map(text.__getitem__, kept)), start, kept)

    def _has_token(self, text: str) -> bool:
        # Letters and digits survive every normaliser; asking the tokenizer each time would double the work.
        if any(character.isalnum() for character in text):
            return True
        return bool(self._tokenizer.encode(text, add_special_tokens=False).ids)


@dataclass(frozen=True, slots=True)
class _Window:
    """What the splitter gets to see of a stretch that begins at ``start`` of the section.

    ``kept`` gives the place in the stretch of each character of ``text``; None when it is all there.
    """

    text: str
    start: int
    kept: list[int] | None

    def offset_in_section(self, offset: int) -> int:
        return self.start + (offset if self.kept is None else self.kept[offset])


def _kept_of_gap(text: str, start: int, end: int) -> list[int]:
    """Return the characters that stand for a long gap between tokens: one of each kind, and up to three line breaks.

    The splitter's work grows with the square of the lines it can put into one chunk, which has no bound where lines
    have no tokens. One of each kind is enough for the tokenizer to see the same tokens.
    """
    first_of_each = {text[index]: index for index in reversed(range(start, end))}
    line_breaks = [index for index in range(start, end) if text[index] == "\n"]
    return sorted({*first_of_each.values(), *line_breaks[:3]})


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Stretches of at most `WINDOW_CHARS` that cover the text, cut at the best boundary of their second half.

    They bound the length of a chunk: a word of a million letters is one unknown token and would fit any number of
    tokens.
    """
    start = 0
    while len(text) - start > WINDOW_CHARS:
        earliest, latest = start + WINDOW_CHARS // 2, start + WINDOW_CHARS
        end = latest
        for boundary in _WINDOW_BOUNDARIES:
            ends = [match.end() for match in boundary.finditer(text, earliest, latest)]
            if ends:
                end = ends[-1]
                break
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)
