"""Documentation of modules written in C, read from the imported module: they have no source to parse."""

import importlib
import inspect
import re
import types
import warnings
from collections.abc import Iterator

from zenso.memory.ingest.docstrings.entry import DocstringEntry

_BOUND_ARGUMENT = re.compile(r"^\(\$\w+(, /)?(, )?")
_ROUTINES = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    classmethod,
    staticmethod,
)
_PROPERTIES = (types.GetSetDescriptorType, types.MemberDescriptorType, property)


def import_compiled(name: str) -> types.ModuleType | None:
    """Import a module of the standard library that is written in C; None where this installation cannot load it."""
    try:
        with warnings.catch_warnings():
            # Some modules announce on import that a later Python drops them.
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(name)
    except (ImportError, OSError):
        # Built without it, or a shared library it needs is missing.
        return None


def module_entries(
    module: types.ModuleType, public_name: str, names: frozenset[str] | None
) -> Iterator[DocstringEntry]:
    """Documentation of a module's public classes and functions, sorted by name.

    Parameters
    ----------
    module
        The imported module.
    public_name
        Prefix of the entries: the module that publishes the names, or "" for builtins.
    names
        Only these names; None for all.
    """
    for name, value in sorted(vars(module).items()):
        # An alias (IOError) is documented under the name it stands for.
        if (
            name.startswith("_")
            or (names is not None and name not in names)
            or name != getattr(value, "__name__", None)
        ):
            continue
        qualified = f"{public_name}.{name}" if public_name else name
        if isinstance(value, type):
            yield from _class_entries(value, qualified)
        elif isinstance(value, _ROUTINES) and (docstring := _docstring(value)):
            yield DocstringEntry(qualified, "function", _signature(value), docstring)


def _class_entries(cls: type, qualified: str) -> Iterator[DocstringEntry]:
    if docstring := _docstring(cls):
        yield DocstringEntry(qualified, "class", _signature(cls), docstring)
    for name, value in sorted(vars(cls).items()):
        if name.startswith("_") or not (docstring := _docstring(value)):
            continue
        if isinstance(value, _ROUTINES):
            routine = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            yield DocstringEntry(f"{qualified}.{name}", "method", _signature(routine), docstring)
        elif isinstance(value, _PROPERTIES):
            yield DocstringEntry(f"{qualified}.{name}", "property", "", docstring)


def _docstring(value: object) -> str:
    docstring = value.__doc__
    return inspect.cleandoc(docstring) if isinstance(docstring, str) else ""


def _signature(value: object) -> str:
    """Parameters as the C source states them: `inspect.signature` would show addresses of default objects."""
    text = getattr(value, "__text_signature__", None)
    if not isinstance(text, str):
        return ""
    return _BOUND_ARGUMENT.sub("(", " ".join(text.split()))
