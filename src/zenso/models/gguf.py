"""GGUF files: verified by SHA-256 before anything else reads them, and the metadata that Zenso needs of them.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from zenso.errors import InputError, IntegrityError, ModelError
from zenso.models.catalogue import CATALOGUE, ModelEntry, lookup
from zenso.models.fetch import fetch
from zenso.models.files import sha256_of
from zenso.models.progress import OnProgress, silent

Value = str | int | float | bool

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 16 << 20


def verified_gguf(model: str | Path | ModelEntry, sha256: str | None = None, on_progress: OnProgress = silent) -> Path:
    """Return the path of a GGUF file whose bytes are those that are wanted; the whole file is hashed each time.

    Parameters
    ----------
    model : str, path or ModelEntry
        A model of the catalogue, fetched when it is not there, or the path of a file: a `Path`, or a string that ends
        with ``.gguf``.
    sha256 : str, optional
        What a file that is not in the catalogue must hash to. Without it the first word of ``FILE.sha256`` beside the
        file counts, as ``sha256sum`` writes it.

    Raises
    ------
    ModelError
        The model is unknown, cannot be fetched, has no GGUF file, or the file cannot be read.
    IntegrityError
        The file has another hash, or nothing says which it must have; the message gives the one it has.
    InputError
        ``sha256`` is not 64 hexadecimal digits, or is given for a model of the catalogue.
    """
    model = named(model)
    if isinstance(model, ModelEntry):
        if sha256 is not None:
            raise InputError(f"the SHA-256 of {model.name} is in the catalogue; give one only with the path of a file")
        file = next((file for file in model.files if file.name.endswith(".gguf")), None)
        if file is None:
            names = ", ".join(entry.name for entry in CATALOGUE if entry.kind == "generation")
            raise ModelError(f"{model.name} has no GGUF file; give the path of one, or a model that has: {names}")
        path, expected = fetch(model, on_progress=on_progress) / file.name, file.sha256
        remedy = f"run: zenso models fetch {model.name}"
    else:
        path = model
        expected = _expected(path, sha256)
        remedy = "fetch it again from its publisher, or correct the SHA-256"
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    if not expected:
        raise IntegrityError(
            f"nothing says what {path} must hash to; its SHA-256 is {found}. If that is what its publisher states, "
            f"give it as sha256, or keep it beside the file: sha256sum {path.name} > {path.name}.sha256"
        )
    if found != expected:
        raise IntegrityError(
            f"wrong SHA-256 of {path}: expected {expected}, found {found}; not loaded. To mend it, {remedy}"
        )
    return path


def named(model: str | Path | ModelEntry) -> ModelEntry | Path:
    """Tell names of the catalogue from paths of files: a string that ends with ``.gguf`` is a path.

    Raises
    ------
    ModelError
        The catalogue has no such model.
    """
    if isinstance(model, ModelEntry):
        return model
    return Path(model).expanduser() if isinstance(model, Path) or model.endswith(".gguf") else lookup(model)


def _expected(path: Path, sha256: str | None) -> str:
    """Find out what a file must hash to: nothing where nobody says it."""
    given, source = sha256, "sha256"
    beside = path.with_name(path.name + ".sha256")
    if given is None:
        source = str(beside)
        try:
            given = beside.read_text("utf-8", "replace").split(maxsplit=1)[0]
        except FileNotFoundError:
            return ""
        except (OSError, IndexError) as error:
            raise ModelError(f"{beside} holds no SHA-256 that can be read; correct it or remove it") from error
    if not re.fullmatch(r"[0-9a-fA-F]{64}", given):
        raise InputError(f"{source} is not a SHA-256 of 64 hexadecimal digits: {given[:80]!r}")
    return given.lower()


def read_metadata(path: Path) -> dict[str, Value]:
    """Read the keys of a GGUF file and their values; arrays, such as the vocabulary, are passed over.

    Raises
    ------
    ModelError
        The file is not GGUF, is of an unknown version, or breaks off.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return dict(_entries(content))
    except (OSError, ValueError, struct.error) as error:
        raise ModelError(f"{path} is not a GGUF file of version 2 or 3, or breaks off: {error}") from error


def _entries(content: mmap.mmap) -> Iterator[tuple[str, Value]]:
    magic, version, _tensors, entries = struct.unpack_from("<4sIQQ", content)
    if magic != b"GGUF" or version not in {2, 3}:
        raise ValueError(f"it begins with {magic!r}, version {version}")
    position = 24
    for _ in range(entries):
        key, position = _string(content, position)
        (kind,) = struct.unpack_from("<I", content, position)
        value, position = _value(content, position + 4, kind)
        if value is not None:
            yield key, value


def _value(content: mmap.mmap, position: int, kind: int) -> tuple[Value | None, int]:
    if kind in _SCALARS:
        (value,) = struct.unpack_from(_SCALARS[kind], content, position)
        return value, position + struct.calcsize(_SCALARS[kind])
    if kind == _STRING:
        return _string(content, position)
    if kind != _ARRAY:
        raise ValueError(f"a value of unknown type {kind}")
    inner, count = struct.unpack_from("<IQ", content, position)
    position += 12
    if inner in _SCALARS:
        return None, position + count * struct.calcsize(_SCALARS[inner])
    for _ in range(count):
        _, position = _value(content, position, inner)
    return None, position


def _string(content: mmap.mmap, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", content, position)
    begin, end = position + 8, position + 8 + length
    if length > _LONGEST_STRING or end > len(content):
        raise ValueError(f"a string of {length} bytes at byte {position}")
    return content[begin:end].decode("utf-8", "replace"), end
