"""The documentation of the standard library of the running Python: real text that every machine has."""

import os
import sys
import sysconfig
import tokenize
from collections.abc import Collection, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

from zenso.memory.ingest.docstrings.compiled import import_compiled, module_entries
from zenso.memory.ingest.docstrings.entry import DocstringEntry, EntryKind
from zenso.memory.ingest.docstrings.source import ModuleSource, parse_module

__all__ = ["DocstringEntry", "EntryKind", "standard_library_docstrings", "standard_library_modules"]

# Tests, applications and jokes that live in the library's folder but document nothing one would look for.
_LEFT_OUT: Final = frozenset({"antigravity", "idlelib", "lib2to3", "pydoc_data", "test", "tests", "this", "turtledemo"})
# Importing readline changes the terminal.
_NOT_IMPORTED: Final = frozenset({"readline"})
# Modules that Python publishes under another name when it starts.
_PUBLISHED: Final = {os.path.__name__: "os.path", "_collections_abc": "collections.abc"}
# One of the two is published as os.path; the other documents the same names again.
_PATH_MODULES: Final = frozenset({"posixpath", "ntpath"})


def standard_library_docstrings() -> Iterator[DocstringEntry]:
    """Yield the documented public names of the standard library, module by module in alphabetical order.

    Modules in Python are parsed and not imported; modules in C have to be imported. A name that a public module takes
    from a private one (``datetime.datetime`` from ``_datetime``) appears under the public module. Each name appears
    once; the order depends only on the Python installation.
    """
    for _, entries in standard_library_modules():
        yield from entries


def standard_library_modules(only: Collection[str] | None = None) -> Iterator[tuple[str, list[DocstringEntry]]]:
    """Yield the same module by module: the name of each, and its entries.

    ``only`` are the modules to read, all by default; names the library does not have are passed over.
    """
    library = _Library()
    seen: set[str] = set()
    for module in library.public_modules():
        name = _published_name(module)
        if only is not None and name not in only:
            continue
        entries = []
        for entry in _module_entries(library, module):
            if entry.name not in seen:
                seen.add(entry.name)
                entries.append(entry)
        if entries:
            yield name, entries


class _Library:
    """The standard library of this installation: where modules lie, and their parsed sources."""

    def __init__(self) -> None:
        self.folder = Path(sysconfig.get_path("stdlib"))
        self._parsed: dict[str, ModuleSource | None] = {}
        extensions = {
            path.name.split(".")[0]
            for folder in {self.folder / "lib-dynload", Path(sysconfig.get_path("platstdlib")) / "lib-dynload"}
            if folder.is_dir()
            for path in folder.iterdir()
            if path.name.endswith(tuple(EXTENSION_SUFFIXES))
        }
        self._compiled = (extensions | set(sys.builtin_module_names)) & sys.stdlib_module_names - _NOT_IMPORTED

    def public_modules(self) -> list[str]:
        """Names of the modules to document, sorted."""
        found = {name for name in self._compiled if not name.startswith("_")}
        for top in sys.stdlib_module_names:
            if self._is_public(top):
                found |= set(self._submodules(top))
        found |= _PUBLISHED.keys()
        return sorted(found - (_PATH_MODULES - _PUBLISHED.keys()), key=_published_name)

    def is_compiled(self, name: str) -> bool:
        """Tell whether a module is written in C."""
        return name in self._compiled

    def source(self, name: str) -> ModuleSource | None:
        """Return a module, parsed; None when it has no source that this Python can parse."""
        if name not in self._parsed:
            self._parsed[name] = self._parse(name)
        return self._parsed[name]

    def _parse(self, name: str) -> ModuleSource | None:
        base = self.folder.joinpath(*name.split("."))
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        try:
            # As Python reads it: the encoding is declared in the file.
            with tokenize.open(path) as file:
                package = name if base.is_dir() else name.rpartition(".")[0]
                return parse_module(file.read(), _published_name(name), package)
        except (OSError, SyntaxError):
            return None

    def _submodules(self, top: str) -> Iterator[str]:
        if (self.folder / f"{top}.py").is_file():
            yield top
        for folder, folders, files in os.walk(self.folder / top):
            folders[:] = [name for name in folders if self._is_public(name) and name.isidentifier()]
            if "__init__.py" not in files:
                folders.clear()
                continue
            package = ".".join(Path(folder).relative_to(self.folder).parts)
            yield package
            for file in files:
                stem, suffix = os.path.splitext(file)  # noqa: PTH122 - names, thousands of them
                if suffix == ".py" and self._is_public(stem):
                    yield f"{package}.{stem}"

    @staticmethod
    def _is_public(name: str) -> bool:
        return not name.startswith("_") and name not in _LEFT_OUT


def _published_name(module: str) -> str:
    return _PUBLISHED.get(module, module)


def _module_entries(library: _Library, name: str) -> Iterator[DocstringEntry]:
    source = library.source(name)
    if source is None:
        # A module in Python that cannot be parsed is left out rather than run.
        yield from _compiled_entries(name) if library.is_compiled(name) else ()
        return
    yield from source.entries
    # Of a private module in C and its twin in Python the twin comes first: it names its parameters.
    for taken in sorted(source.reexports, key=lambda taken: library.is_compiled(taken.module)):
        yield from _reexported(library, taken.module, taken.names, _published_name(name))


def _compiled_entries(name: str) -> Iterator[DocstringEntry]:
    module = import_compiled(name)
    if module is None:
        return
    if module.__doc__:
        yield DocstringEntry(name, "module", "", module.__doc__.strip())
    yield from module_entries(module, "" if name == "builtins" else name, None)


def _reexported(
    library: _Library, module: str, names: frozenset[str] | None, public_name: str
) -> Iterator[DocstringEntry]:
    """Entries that a public module takes from one that nobody imports by name: a private one, or one in C."""
    is_private = module.rpartition(".")[2].startswith("_")
    source = library.source(module) if is_private else None
    if source is not None:
        prefix = f"{_published_name(module)}."
        for entry in source.entries:
            own_name = entry.name.removeprefix(prefix)
            if entry.kind != "module" and (names is None or own_name.split(".")[0] in names):
                yield DocstringEntry(f"{public_name}.{own_name}", entry.kind, entry.signature, entry.docstring)
    elif library.is_compiled(module) and (imported := import_compiled(module)) is not None:
        yield from module_entries(imported, public_name, names)
