"""API keys: made here, shown once, kept as hashes."""

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from zenso.errors import InputError, StorageError

_PREFIX = "zk"
_SECRET_BYTES = 32  # so many random bits that a plain hash needs no salt and no stretching


class Scope(StrEnum):
    """What a key may do; each scope includes those before it."""

    READ = "read"  # search, embed, rerank, chat
    WRITE = "write"  # and add, change and delete documents
    ADMIN = "admin"  # and make memories, and see what the server does

    def includes(self, other: "Scope") -> bool:
        """Whether whoever has this may do the other."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Key:
    """A key without its secret."""

    id: str
    name: str
    scope: Scope
    created: str  # UTC, ISO 8601
    expires: str | None
    hash: str  # SHA-256 of the secret, hexadecimal

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= datetime.now(UTC)


class KeyFile:
    """The keys of a server: a JSON file that only its owner can read. A running server notices changes.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._seen = False

    @property
    def are_needed(self) -> bool:
        """Whether there is such a file, or once was: revoking the last key lets nobody in.

        Raises
        ------
        StorageError
            It cannot be read.
        """
        self._current()
        return self._seen

    def list(self) -> list[Key]:
        """Return the keys, oldest first.

        Raises
        ------
        StorageError
            The file cannot be read, or is damaged.
        """
        return list(self._current().values())

    def create(self, name: str, scope: Scope, days: int | None = None) -> tuple[Key, str]:
        """Make a key, and return it with its text, which is not kept.

        Raises
        ------
        InputError
            The name is empty or in use.
        StorageError
            The file cannot be written.
        """
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise InputError(f"the key's name is {name!r}; give 1 to 100 characters that can be shown")
        if days is not None and days < 1:
            raise InputError(f"a key cannot end after {days} days; give at least 1")
        with self._changing() as keys:
            if any(key.name == name for key in keys.values()):
                raise InputError(f"there is a key {name!r} already; revoke it first, or choose another name")
            secret = secrets.token_urlsafe(_SECRET_BYTES)
            now = datetime.now(UTC).replace(microsecond=0)
            ends = None if days is None else (now + timedelta(days=days)).isoformat()
            key = Key(secrets.token_hex(6), name, scope, now.isoformat(), ends, _hash(secret))
            keys[key.id] = key
        return key, f"{_PREFIX}_{key.id}_{secret}"

    def revoke(self, name: str) -> Key:
        """Remove the key of a name or id.

        Raises
        ------
        InputError
            There is none.
        StorageError
            The file cannot be written.
        """
        with self._changing() as keys:
            found = next((key for key in keys.values() if name in (key.id, key.name)), None)
            if found is None:
                raise InputError(f"there is no key {name!r} in {self.path}; `zenso keys list` shows them")
            del keys[found.id]
        return found

    def find(self, text: str) -> Key | None:
        """Return the key that a text is, or None."""
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._current().get(key_id) if prefix == _PREFIX else None
        # Compared also where there is no key, so that the time says nothing about ids.
        same = hmac.compare_digest(_hash(secret), key.hash if key else _hash(""))
        return key if key and same and not key.is_expired else None

    def _current(self) -> dict[str, Key]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read ({error.strerror}); see to its permissions") from None
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        with self._lock:
            self._seen = True
            if stamp != self._stamp:
                self._keys, self._stamp = _read(self.path), stamp
            return dict(self._keys)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """Hold the right to change the file, which is written as a whole at the end."""
        import fcntl  # noqa: PLC0415 - a server that only reads runs elsewhere too

        temporary = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = _read(self.path) if self.path.exists() else {}
                yield keys
                with os.fdopen(os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
                    json.dump({"version": 1, "keys": [asdict(key) for key in keys.values()]}, file, indent=2)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self.path)
            finally:
                os.close(lock)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageError(f"{self.path} cannot be written ({error.strerror}); choose another --keys") from error


def _read(path: Path) -> dict[str, Key]:
    try:
        rows = json.loads(path.read_text("utf-8"))["keys"]
        return {row["id"]: Key(**{**row, "scope": Scope(row["scope"])}) for row in rows}
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); see to its permissions") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} holds no keys ({error}); restore it, or remove it and make new ones") from None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
