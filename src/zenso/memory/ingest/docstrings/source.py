"""Documentation of modules written in Python, read from their source: nothing is imported, so nothing is run."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from zenso.memory.ingest.docstrings.entry import DocstringEntry, EntryKind

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Reexport:
    """``from module import names``; ``names`` is None for ``*``. ``module`` is absolute."""

    module: str
    names: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A parsed module: its own documentation, and what it takes from other modules."""

    entries: list[DocstringEntry]
    reexports: list[Reexport]


def parse_module(source: str, name: str, package: str) -> ModuleSource:
    """Documentation of the public names in a module's source, in the order of the source.

    Parameters
    ----------
    source
        The text of the module.
    name
        The name under which the module is imported; entries carry it as a prefix.
    package
        The package that relative imports of the module start from; "" for none.

    Raises
    ------
    SyntaxError
        The source is not of this version of Python.
    """
    tree = ast.parse(source)
    entries = [DocstringEntry(name, "module", "", docstring)] if (docstring := ast.get_docstring(tree)) else []
    entries += _members(tree.body, name, in_class=False)
    reexports = [
        Reexport(_imported_module(node, package), None if "*" in names else names)
        for node in _statements(tree.body)
        if isinstance(node, ast.ImportFrom)
        for names in [frozenset(alias.name for alias in node.names)]
    ]
    return ModuleSource(entries, reexports)


def _imported_module(node: ast.ImportFrom, package: str) -> str:
    """Absolute name of the module after ``from``."""
    if node.level == 0:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a body, those under ``if``, ``try`` and ``with`` included: they define names of the same scope."""
    for node in body:
        yield node
        for branch in ("body", "handlers", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                for inner in getattr(node, branch, []):
                    yield from _statements(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _members(body: list[ast.stmt], prefix: str, *, in_class: bool) -> Iterator[DocstringEntry]:
    for node in _statements(body):
        if not isinstance(node, _Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        name = f"{prefix}.{node.name}"
        docstring = ast.get_docstring(node)
        if isinstance(node, ast.ClassDef):
            if docstring:
                yield DocstringEntry(name, "class", _class_signature(node), docstring)
            yield from _members(node.body, name, in_class=True)
        elif docstring:
            kind = _function_kind(node, in_class=in_class)
            yield DocstringEntry(name, kind, _signature(node, kind), docstring)


def _function_kind(node: _Function, *, in_class: bool) -> EntryKind:
    if not in_class:
        return "function"
    return "property" if any("property" in name for name in _decorators(node)) else "method"


def _decorators(node: _Function) -> list[str]:
    return [ast.unparse(decorator) for decorator in node.decorator_list]


def _signature(node: _Function, kind: EntryKind) -> str:
    if kind == "property":
        return ""
    arguments = node.args
    if kind == "method" and "staticmethod" not in _decorators(node):
        # The caller does not pass self or cls.
        positional = arguments.posonlyargs or arguments.args
        del positional[:1]
    return f"({inspect.cleandoc(ast.unparse(arguments))})"


def _class_signature(node: ast.ClassDef) -> str:
    for constructor in ("__init__", "__new__"):
        for member in _statements(node.body):
            if isinstance(member, ast.FunctionDef) and member.name == constructor:
                return _signature(member, "method")
    return ""
