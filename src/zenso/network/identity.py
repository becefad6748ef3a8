"""A node's identity: an Ed25519 key in a file that only its owner can read."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from zenso.errors import InputError, IntegrityError, StorageError

KEY_BYTES = 32
SIGNATURE_BYTES = 64


class Identity:
    """An Ed25519 key pair that signs records.

    Parameters
    ----------
    seed : bytes
        The 32 bytes of the private key (RFC 8032).
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise InputError(f"an Ed25519 key of {len(seed)} bytes; give {KEY_BYTES}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()  # 32 bytes

    def __repr__(self) -> str:
        return f"Identity({self.public_key.hex()})"

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, as the transport's key pair is made of them."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._key.sign(message)

    @classmethod
    def generate(cls) -> "Identity":
        """Make a new key that is in no file."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def create(cls, path: Path) -> "Identity":
        """Make a new key and write it to a file (PKCS #8, PEM) of mode 600; folders are made when missing.

        Raises
        ------
        InputError
            There is such a file: a key is never overwritten.
        StorageError
            The disk refuses.
        """
        key = Ed25519PrivateKey.generate()
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise InputError(f"{path} holds a key already; use it, or choose another file")
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"no key can be written to {path} ({error.strerror}); see to its folder") from error
        return cls(key.private_bytes_raw())

    @classmethod
    def load(cls, path: Path) -> "Identity":
        """Read the key of a file.

        Raises
        ------
        StorageError
            It cannot be read, belongs to another user, or others than its owner may read or write it.
        IntegrityError
            It holds no Ed25519 key.
        """
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
                    raise StorageError(f"{path} is no file of the user that runs this; see to its owner")
                if status.st_mode & 0o077:
                    mode = stat.S_IMODE(status.st_mode)
                    raise StorageError(f"{path} has mode {mode:03o}, so others can use the key; run: chmod 600 {path}")
                text = file.read(10_000)
        except OSError as error:
            raise StorageError(f"{path} cannot be read ({error.strerror}); make a key first") from error
        try:
            key = load_pem_private_key(text, password=None)
        except (ValueError, TypeError) as error:
            raise IntegrityError(f"{path} holds no private key in PEM ({error}); restore a copy") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise IntegrityError(f"{path} holds a key of another kind; a node's is Ed25519")
        return cls(key.private_bytes_raw())


def is_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Tell whether a signature (64 bytes) of a message was made by the owner of a public key (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
