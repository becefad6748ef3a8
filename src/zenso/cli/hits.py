"""How search results are shown: where each was found, how near it is, and the lines that matter of its text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from zenso.cli.output import printable

if TYPE_CHECKING:
    from zenso.memory import Explanation
    from zenso.rerank import Explanation as Passage

_PASSAGE_LINES = 4
_ALIKE = 0.6  # cosine of tokens that mean about the same where they stand
_WORD = re.compile(r"\w+")
# Words that are in nearly every passage say nothing about why it was found.
_COMMON = frozenset(
    _WORD.findall(
        "a an and are as at be by can do does for from how i in is it of on or that the this to was what when where "
        "which who why with you"
    )
)


@dataclass(frozen=True, slots=True)
class ShownHit:
    """A result in its place: what both the JSON and the screen are made of."""

    rank: int
    score: float
    id: str
    text: str
    metadata: Mapping[str, Any]
    passage: "Passage | None" = None  # what answers best in it, if it was reranked

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints; ``path`` and ``name`` stand beside the metadata they are from."""
        place = {key: self.metadata[key] for key in ("path", "name") if key in self.metadata}
        return {
            "rank": self.rank,
            "score": round(self.score, 6),
            "id": self.id,
            **place,
            "text": self.text,
            "metadata": dict(self.metadata),
            **passage_json(self.passage),
        }

    @property
    def heading(self) -> str:
        """Title and place, as short as they can be without being ambiguous."""
        title = str(self.metadata.get("title") or self.metadata.get("name") or "")
        title += str(self.metadata.get("signature") or "")
        path = self.metadata.get("path")
        if path is None:
            return title or self.id
        place = _short_path(str(path))
        if "page" in self.metadata:
            place += f", page {self.metadata['page']}"
        elif "line" in self.metadata:
            place += f":{self.metadata['line']}"
        return f"{title} ({place})" if title else place


def passage_json(passage: "Passage | None") -> dict[str, Any]:
    """Return what `--json` prints of the passage that answers best: its text, and its characters from and to."""
    if passage is None:
        return {}
    return {"passage": {"text": passage.passage, "start": passage.start, "end": passage.end}}


def print_hits(hits: Sequence[ShownHit], query: str) -> None:
    """Print results on standard output, wrapped to the terminal, with the words of the query highlighted."""
    console = Console(highlight=False)
    words = _query_words(query)
    for hit in hits:
        if hit.rank > 1:
            console.print()
        heading = Text(f"{hit.rank}. ", style="bold").append(printable(hit.heading), style="bold cyan")
        heading.append(f"  {hit.score:.3f}", style="dim")
        console.print(heading, soft_wrap=not console.is_terminal)
        marked = words if hit.passage is None else [*words, *_answering_words(hit.passage)]
        shown = hit.text if hit.passage is None else _whole_words(hit.text, hit.passage)
        passage = Text(_passage(printable(shown), marked, max(20, console.width - 3)))
        for word in marked:
            passage.highlight_regex(_starts_with(word), style="bold yellow")
        for line in passage.split("\n"):
            console.print(Text("   ").append_text(line), soft_wrap=True)


def print_explanation(explanation: "Explanation", count: int) -> None:
    """Print each stage of a search on standard output, with the best ``count`` of what it found."""
    console = Console(highlight=False)
    for stage in explanation.stages:
        found = stage.candidates
        console.print()
        console.print(
            Text(f"stage {stage.name}", style="bold").append(
                f": {stage.considered:,} considered, {len(found):,} left, {1000 * stage.seconds:.1f} ms",
                style="not bold",
            ),
            soft_wrap=True,
        )
        for candidate in found[:count]:
            console.print(Text(f"   {candidate.score:.3f}  {printable(candidate.id)}"), soft_wrap=True)
        if len(found) > count:
            console.print(Text(f"   and {len(found) - count:,} more", style="dim"))
    console.print(f"\n{explanation.dimensions:,} dimensions of the codes scored")


def _answering_words(passage: "Passage") -> list[str]:
    """Return the words of a passage that answer a telling word of the query."""
    answering = [
        match.candidate.lower()
        for match in passage.matches
        if match.similarity >= _ALIKE and match.share * len(passage.matches) >= 1 and match.query.lower() not in _COMMON
    ]
    return [word for word in dict.fromkeys(answering) if _WORD.fullmatch(word) and len(word) > 1]


def _whole_words(text: str, passage: "Passage") -> str:
    """Return the passage with the words that its ends cut through, and marks where text is left out."""
    start, end = passage.start, passage.end
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return ("… " if text[:start].strip() else "") + text[start:end] + (" …" if text[end:].strip() else "")


def _query_words(query: str) -> list[str]:
    words = dict.fromkeys(word.lower() for word in _WORD.findall(query))
    return [word for word in words if word not in _COMMON and (len(word) > 1 or not word.isascii())]


def _starts_with(word: str) -> re.Pattern[str]:
    """Match words that begin like a word of the query: dates for date, but not update."""
    # Scripts without spaces have no beginnings of words to look for.
    boundary = r"\b" if word.isascii() else ""
    return re.compile(f"{boundary}{re.escape(word)}", re.IGNORECASE)


def _passage(text: str, words: Sequence[str], width: int) -> str:
    """Cut a text to the stretch of a few lines that holds the most words of the query, at its first such place."""
    lines = [line for line in _wrapped(text, width) if line.strip()]
    if len(lines) <= _PASSAGE_LINES:
        return "\n".join(lines)
    patterns = [_starts_with(word) for word in words]
    found = [{index for index, pattern in enumerate(patterns) if pattern.search(line)} for line in lines]
    starts = range(len(lines) - _PASSAGE_LINES + 1)
    best = max(starts, key=lambda start: (len(set().union(*found[start : start + _PASSAGE_LINES])), -start))
    chosen = lines[best : best + _PASSAGE_LINES]
    if best > 0:
        chosen[0] = f"… {chosen[0].lstrip()}"
    if best + _PASSAGE_LINES < len(lines):
        chosen[-1] = f"{chosen[-1].rstrip()} …"
    return "\n".join(chosen)


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines that leave room for the marks of what is left out, wide characters counted as two."""
    console = Console(width=width, color_system=None)
    return [line.plain.rstrip() for line in Text(text.expandtabs(4)).wrap(console, max(10, width - 4))]


def _short_path(path: str) -> str:
    """Return a path as seen from the current folder where it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path
