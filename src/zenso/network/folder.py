"""The folder of a node: its key, its settings, its records, the peers it had, and a lock while it runs."""

import fcntl
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import base58

from zenso.atomic_file import replacing
from zenso.errors import InputError, StorageError
from zenso.network.addresses import address, peer_of
from zenso.network.identity import Identity
from zenso.network.settings import FILE_NAME, NodeSettings, check_settings, read_settings, write_settings

log = logging.getLogger("zenso.network")
_KEY, _RECORDS, _MEMORY, _LOCK = "node.pem", "records.sqlite3", "experiences.zenso", "node.lock"
_PEERS = "peers.json"
# libp2p's id of a peer whose key is Ed25519: an identity multihash of the key's protobuf, in base 58.
PEER_PREFIX = bytes.fromhex("002408011220")


@dataclass(frozen=True)
class NodeFolder:
    """What is in it."""

    path: Path
    identity: Identity
    settings: NodeSettings

    @property
    def peer(self) -> str:
        """The id by which peers know the node."""
        return peer_id(self.identity.public_key)

    @property
    def key_path(self) -> Path:
        """The private key."""
        return self.path / _KEY

    @property
    def records_path(self) -> Path:
        """The records."""
        return self.path / _RECORDS

    @property
    def memory_path(self) -> Path:
        """The memory that experiences are searched with; it can be made anew from the records."""
        return self.path / _MEMORY

    def remembered_peers(self) -> list[str]:
        """Return the addresses that were kept last; none where there are none, or the file is damaged."""
        try:
            found = json.loads((self.path / _PEERS).read_text("utf-8"))
            for one in found:
                peer_of(one)
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, InputError) as error:
            log.warning("%s is not used: %s", self.path / _PEERS, error)
            return []
        return list(found)

    def remember_peers(self, addresses: Sequence[str]) -> None:
        """Keep addresses of peers, instead of those before.

        Raises
        ------
        StorageError
            The disk refuses.
        """
        try:
            with replacing(self.path / _PEERS) as file:
                file.write(json.dumps(list(addresses), indent=0).encode())
        except OSError as error:
            raise StorageError(f"{self.path / _PEERS} cannot be written ({error.strerror}); see to the disk") from None

    def lock(self) -> IO[bytes]:
        """Keep other processes from running this node, until the file is closed.

        Raises
        ------
        InputError
            One runs already.
        StorageError
            The disk refuses.
        """
        try:
            file = (self.path / _LOCK).open("ab")
        except OSError as error:
            raise StorageError(f"{self.path / _LOCK} cannot be made ({error.strerror}); see to the folder") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise InputError(f"the node in {self.path} runs already; see `zenso node status {self.path}`") from None
        return file


def peer_id(public_key: bytes) -> str:
    """Return the id of the peer with an Ed25519 key of 32 bytes."""
    text: bytes = base58.b58encode(PEER_PREFIX + public_key)
    return text.decode()


def create_folder(path: Path, given: Mapping[str, Any]) -> dict[str, str]:
    """Make a node in a folder that is missing or holds none; return its peer id and where its settings are.

    Parameters
    ----------
    path : Path
    given : mapping
        Settings; the others are left at their defaults.

    Raises
    ------
    InputError
        There is a node already, or a setting cannot be.
    StorageError
        The disk refuses.
    """
    settings = check_settings(dict(given), "the node")
    _check_addresses(settings)
    if (path / FILE_NAME).exists():
        raise InputError(f"there is a node in {path} already; edit {path / FILE_NAME}, or choose another folder")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be made ({error.strerror}); choose another folder") from None
    identity = Identity.create(path / _KEY)
    written = write_settings(path, settings)
    return {"peer": peer_id(identity.public_key), "creator": identity.public_key.hex(), "settings": str(written)}


def read_folder(path: Path) -> NodeFolder:
    """Open a node's folder.

    Raises
    ------
    InputError
        There is no node, or a setting cannot be.
    StorageError, IntegrityError
        A file cannot be used.
    """
    settings = read_settings(path)
    _check_addresses(settings)
    return NodeFolder(path, Identity.load(path / _KEY), settings)


def _check_addresses(settings: NodeSettings) -> None:
    for text in settings.listen:
        address(text)
    for text in settings.peers:
        peer_of(text)
