"""Memories given as PATH or NAME=PATH."""

from pathlib import Path

from zenso.errors import InputError


def named_memories(given: list[str]) -> dict[str, Path]:
    """Name memories after their folders, where no name is given.

    Raises
    ------
    InputError
        Two have the same name.
    """
    named: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            name, path = Path(text).absolute().name.removesuffix(".zenso"), text
        if name in named:
            raise InputError(f"two memories are called {name!r}; give one another name: NAME={path}")
        named[name] = Path(path).absolute()  # not beside a configuration that is elsewhere
    return named
