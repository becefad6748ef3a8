"""Finds the files worth reading under the paths a user names."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from zenso.errors import InputError
from zenso.memory.ingest.encoding import shown
from zenso.memory.ingest.formats import is_readable_name
from zenso.memory.ingest.readers import unreadable
from zenso.memory.ingest.sections import Skipped

# Folders that tools fill; what is worth reading in them was written elsewhere.
_TOOL_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})
# A file that marks its folder as made by a tool: a virtual environment, a cache (https://bford.info/cachedir/).
_TOOL_MARKERS = ("pyvenv.cfg", "CACHEDIR.TAG")


def walk(paths: Iterable[Path | str]) -> Iterator[Path | Skipped]:
    """Yield the files under the given paths, folders depth first and sorted by name, each file once.

    A file that is given by name is always yielded. In folders, hidden names, version control, caches, virtual
    environments and other tools' folders are passed over silently; a file without a reader, a link that leads out of
    the folder, a folder without permission give a `Skipped`. Links to folders are not followed unless given by name,
    so a loop of links ends.

    Raises
    ------
    InputError
        Before anything is yielded: one of the paths does not exist. The message names it.
    """
    roots = [Path(path) for path in paths]
    for root in roots:
        _must_exist(root)
    return _walk_roots(roots)


def _must_exist(path: Path) -> None:
    try:
        path.stat()
    except PermissionError:
        # It may exist; walking it says so with a reason.
        return
    except (OSError, ValueError) as error:
        # ValueError: a name with a NUL.
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{shown(path)}: no such file or folder ({reason}); check the path") from error


def _walk_roots(roots: list[Path]) -> Iterator[Path | Skipped]:
    seen: set[str] = set()
    for root in roots:
        try:
            mode = root.stat().st_mode
        except OSError as error:
            yield Skipped(root, unreadable(error))
            continue
        if stat.S_ISDIR(mode):
            found: Iterator[Path | Skipped] = _walk_folder(root)
        elif stat.S_ISREG(mode):
            found = iter((root,))
        else:
            found = iter((Skipped(root, "neither a file nor a folder; write its content to a file"),))
        for item in found:
            if isinstance(item, Path):
                identity = os.path.realpath(item)
                if identity in seen:
                    continue
                seen.add(identity)
            yield item


def _walk_folder(root: Path) -> Iterator[Path | Skipped]:
    inside = os.path.realpath(root)
    pending = [root]
    while pending:
        path = pending.pop()
        try:
            mode = path.stat().st_mode if path == root else path.lstat().st_mode
            names = sorted(os.listdir(path)) if stat.S_ISDIR(mode) else None  # noqa: PTH208 - names, without a Path each
        except OSError as error:
            yield Skipped(path, unreadable(error))
            continue
        if names is None:
            reason = _reason_to_skip(path, inside)
            yield path if reason is None else Skipped(path, reason)
        elif path == root or not any(marker in names for marker in _TOOL_MARKERS):
            pending.extend(path / name for name in reversed(names) if not _is_passed_over(name))


def _is_passed_over(name: str) -> bool:
    # A memory lies in a folder of its own, which it must not index.
    return name.startswith(".") or name in _TOOL_FOLDERS or name.endswith(".zenso")


def _reason_to_skip(path: Path, inside: str) -> str | None:
    """Why something met in a folder, itself no folder, is not read; None when it is."""
    is_link = path.is_symlink()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "a link to nothing, or to itself" if is_link else unreadable(error)
    if is_link and stat.S_ISDIR(mode):
        return "a link to a folder; give the folder by name to read it"
    if is_link and not Path(os.path.realpath(path)).is_relative_to(inside):
        return "a link that leads out of the folder; give the file by name to read it"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if not is_readable_name(path):
        return f"no reader for {path.suffix.lower()} files; give it by name to read it as text"
    return None
