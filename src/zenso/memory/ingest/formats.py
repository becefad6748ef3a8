"""Which files can be read, by their names."""

from pathlib import Path
from typing import Final

MARKDOWN: Final = frozenset({".md", ".markdown", ".mdown", ".mkd"})
# reStructuredText and its like keep their structure in blank lines, which the prose splitter follows.
PROSE: Final = frozenset({".txt", ".text", ".rst", ".adoc", ".asciidoc", ".org", ".tex", ".log", ".srt", ".vtt"})
HTML: Final = frozenset({".html", ".htm", ".xhtml"})
PDF: Final = frozenset({".pdf"})
JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})
DELIMITED: Final = frozenset({".csv", ".tsv"})

LANGUAGES: Final = {
    ".bash": "shell",
    ".bat": "batch",
    ".c": "c",
    ".cc": "c++",
    ".cfg": "ini",
    ".clj": "clojure",
    ".cmake": "cmake",
    ".conf": "ini",
    ".cpp": "c++",
    ".cs": "c#",
    ".css": "css",
    ".cu": "cuda",
    ".cxx": "c++",
    ".dart": "dart",
    ".el": "emacs lisp",
    ".erl": "erlang",
    ".ex": "elixir",
    ".exs": "elixir",
    ".f90": "fortran",
    ".fish": "shell",
    ".go": "go",
    ".gradle": "groovy",
    ".graphql": "graphql",
    ".groovy": "groovy",
    ".h": "c",
    ".hpp": "c++",
    ".hs": "haskell",
    ".hxx": "c++",
    ".ini": "ini",
    ".java": "java",
    ".jl": "julia",
    ".js": "javascript",
    ".json": "json",
    ".jsx": "javascript",
    ".kt": "kotlin",
    ".kts": "kotlin",
    ".less": "css",
    ".lisp": "lisp",
    ".lua": "lua",
    ".m": "objective-c",
    ".mjs": "javascript",
    ".ml": "ocaml",
    ".mli": "ocaml",
    ".nim": "nim",
    ".nix": "nix",
    ".php": "php",
    ".pl": "perl",
    ".pm": "perl",
    ".proto": "protobuf",
    ".ps1": "powershell",
    ".py": "python",
    ".pyi": "python",
    ".pyx": "cython",
    ".r": "r",
    ".rb": "ruby",
    ".rs": "rust",
    ".s": "assembly",
    ".scala": "scala",
    ".scss": "css",
    ".sh": "shell",
    ".sol": "solidity",
    ".sql": "sql",
    ".svelte": "svelte",
    ".swift": "swift",
    ".tf": "terraform",
    ".toml": "toml",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".vue": "vue",
    ".vy": "vyper",
    ".wat": "webassembly",
    ".xml": "xml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".zig": "zig",
    ".zsh": "shell",
}
"""Suffix of a source file, and the language it is written in."""

SUFFIXES: Final = MARKDOWN | PROSE | HTML | PDF | JSON_LINES | DELIMITED | frozenset(LANGUAGES)
"""Every suffix with a reader of its own, in lower case with the dot."""


def is_readable_name(path: Path) -> bool:
    """Whether a file met in a folder is worth opening: a known suffix, or none at all (``README``, ``Makefile``)."""
    suffix = path.suffix.lower()
    return not suffix or suffix in SUFFIXES
