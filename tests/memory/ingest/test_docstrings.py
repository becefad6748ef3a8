import subprocess
import sys

import pytest

from zenso.memory.ingest import Chunker, DocstringEntry, standard_library_docstrings
from zenso.memory.ingest.docstrings.source import parse_module


@pytest.fixture(scope="module")
def entries():
    return list(standard_library_docstrings())


@pytest.fixture(scope="module")
def by_name(entries):
    return {entry.name: entry for entry in entries}


def test_at_least_five_thousand(entries):
    assert len(entries) >= 5_000


def test_each_name_appears_once_with_text(entries, by_name):
    assert len(by_name) == len(entries)
    for entry in entries:
        assert entry.docstring.strip()
        assert entry.text.endswith(entry.docstring)
        assert not any(part.startswith("_") for part in entry.name.split(".")) or entry.name == "__future__"
        assert " at 0x" not in entry.signature
        entry.text.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "kind", "heading"),
    [
        ("datetime.datetime.strptime", "method", "datetime.datetime.strptime(date_string, format)"),
        ("time.strptime", "function", "time.strptime"),
        ("str.join", "method", "str.join(iterable, /)"),
        ("math.floor", "function", "math.floor(x, /)"),
        ("os.path.join", "function", "os.path.join(a, *p)"),
        ("collections.deque", "class", "collections.deque"),
        ("collections.OrderedDict", "class", "collections.OrderedDict"),
        ("collections.abc.Mapping", "class", "collections.abc.Mapping"),
        ("json.dumps", "function", "json.dumps(obj, "),
        ("datetime.date", "class", "datetime.date(year, "),
        ("pathlib.Path", "class", "pathlib.Path"),
        ("json", "module", "json"),
        ("math", "module", "math"),
        ("fractions.Fraction.from_float", "method", "fractions.Fraction.from_float(f)"),
        ("datetime.date.year", "property", "datetime.date.year"),
    ],
)
def test_public_names_are_found(by_name, name, kind, heading):
    assert by_name[name].kind == kind
    assert f"{name}{by_name[name].signature}".startswith(heading)


def test_what_documents_nothing_is_left_out(by_name):
    tops = {name.split(".")[0] for name in by_name}
    assert not tops & {"antigravity", "idlelib", "lib2to3", "test", "this", "turtledemo", "posixpath", "ntpath"}


def test_words_of_a_name_are_spelled_out():
    entry = DocstringEntry("xml.dom.HTMLParser.get_nodeName", "method", "(tag)", "Return it.")
    assert entry.text == "xml dom html parser get node name: Return it."


def test_order_is_the_same_in_another_process(entries):
    script = (
        "from zenso.memory.ingest import standard_library_docstrings as s\n"
        "import hashlib; print(hashlib.sha256('\\n'.join(e.text for e in s()).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_long_docstrings_become_chunks(entries, tokenizer):
    chunker = Chunker(tokenizer)
    longest = max(entries, key=lambda entry: len(entry.text))
    chunks = chunker.chunks(longest.text)
    assert len(chunks) > 1
    assert all(len(tokenizer.encode(chunk.text).ids) <= 256 for chunk in chunks)


SOURCE = '''
"""Module."""
from _private import *
from . import sibling
from ._hidden import Taken

try:
    def either(a, /, b=1, *rest, c, **more):
        """One."""
except ImportError:
    def either():
        """Other."""

class Outer:
    """Class."""
    def __init__(self, x: int): ...
    def method(self, y):
        """Method.

        indented
        """
    @staticmethod
    def static(z):
        """Static."""
    @property
    def value(self):
        """Value."""
    @functools.cached_property
    def cached(self):
        """Cached."""
    def _private(self):
        """Private."""
    def undocumented(self): ...
    class Inner:
        """Inner."""

async def later():
    """Async."""
'''


def test_source_is_parsed_and_not_run():
    parsed = parse_module(SOURCE, "package.module", "package")
    assert [(entry.name, entry.kind, entry.signature) for entry in parsed.entries] == [
        ("package.module", "module", ""),
        ("package.module.either", "function", "(a, /, b=1, *rest, c, **more)"),
        ("package.module.either", "function", "()"),
        ("package.module.Outer", "class", "(x: int)"),
        ("package.module.Outer.method", "method", "(y)"),
        ("package.module.Outer.static", "method", "(z)"),
        ("package.module.Outer.value", "property", ""),
        ("package.module.Outer.cached", "property", ""),
        ("package.module.Outer.Inner", "class", ""),
        ("package.module.later", "function", "()"),
    ]
    assert parsed.entries[4].docstring == "Method.\n\nindented"
    assert [(taken.module, taken.names) for taken in parsed.reexports] == [
        ("_private", None),
        ("package", {"sibling"}),
        ("package._hidden", {"Taken"}),
    ]
