"""Models of the catalogue as objects: what this machine gives to peers, and what it fetches from them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import trio
from libp2p.abc import INetStream

from zenso import models
from zenso.errors import InputError
from zenso.network.addresses import peer_of
from zenso.network.folder import NodeFolder
from zenso.network.objects import ObjectMissingError, Part, fetch_object
from zenso.network.records import MAX_RECORD_BYTES
from zenso.network.transport import Transport, first_error

FetchObject = Callable[[Part, Callable[[int], None]], None]  # raises ObjectMissingError
_ANY_PORT = "/ip4/127.0.0.1/tcp/0"
_DIAL_SECONDS = 2.0  # between attempts to reach a peer


class SharedModels:
    """The files of models that were verified here and whose licence lets anybody pass them on."""

    def find(self, digest: bytes) -> Path | None:
        """Return the file with a SHA-256."""
        return models.find_verified(digest.hex())


def from_peers(fetch: FetchObject) -> models.Source:
    """Return a source for ``models.fetch`` that asks peers for each file by its hash.

    What an interruption leaves of a file is gone on from.
    """

    def take(files: list[models.ModelFile], folder: Path, on_progress: models.OnProgress) -> list[Path]:
        return [_take_one(fetch, file, folder, on_progress) for file in files]

    return take


def _take_one(fetch: FetchObject, file: models.ModelFile, folder: Path, on_progress: models.OnProgress) -> Path:
    # Named by the hash: the file of another version of the catalogue is another object.
    with Part(folder / f"{file.sha256}.part", bytes.fromhex(file.sha256), file.size) as part:
        try:
            fetch(part, lambda length: on_progress(models.Transfer(file.name, length, file.size)))
        except ObjectMissingError as error:
            raise models.SourceError(f"{file.name} cannot be had from peers: {error}") from error
        return part.move(folder / file.name)


def fetch_without_node(folder: NodeFolder, model: str, on_progress: models.OnProgress = models.silent) -> Path:
    """Fetch a model from the peers that a node knows, while it does not run.

    Parameters
    ----------
    folder : NodeFolder
    model : str
        Name or id in the catalogue.

    Raises
    ------
    InputError
        The node runs, or knows no peers.
    ModelError
        The model is unknown, or no peer gives it.
    StorageError
        The cache cannot be written.
    """
    entry = models.lookup(model)
    if not _addresses(folder):
        raise InputError(f"the node in {folder.path} knows no peers; add some to `peers` in its node.toml")
    with folder.lock():
        try:
            path: Path = trio.run(_dial_and_fetch, folder, entry, on_progress)
        except BaseExceptionGroup as group:
            raise first_error(group) from None
        return path


def _addresses(folder: NodeFolder) -> list[str]:
    """Return where peers may be: those that the settings name, and those that the node knew when it ran."""
    return list(dict.fromkeys([*folder.settings.peers, *folder.remembered_peers()]))


async def _dial_and_fetch(folder: NodeFolder, entry: models.ModelEntry, on_progress: models.OnProgress) -> Path:
    transport = Transport(
        folder.identity.seed,
        [_ANY_PORT],
        topics=[],
        message_bytes=MAX_RECORD_BYTES,
        waiting=1,
        gate=lambda _: False,
        welcome=lambda _: True,
        on_fault=_ignore,
    )
    step_seconds = folder.settings.limits.step_seconds

    def fetch(part: Part, on_length: Callable[[int], None]) -> None:
        trio.from_thread.run(fetch_object, _Dialled(transport), part, on_length, step_seconds)

    async def stay_connected(address: str) -> None:
        while True:
            if peer_of(address) not in transport.peers:
                await transport.connect(address)
            await trio.sleep(_DIAL_SECONDS)

    async with transport.running(), trio.open_nursery() as nursery:
        for address in _addresses(folder):
            nursery.start_soon(stay_connected, address)
        path: Path = await trio.to_thread.run_sync(
            lambda: models.fetch(entry, source=from_peers(fetch), on_progress=on_progress)
        )
        nursery.cancel_scope.cancel()
    return path


class _Dialled:
    """The peers of a transport, none of which is known to be bad."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def connected(self) -> Sequence[str]:
        return self._transport.peers

    async def open(self, peer: str, protocol: str) -> INetStream:
        return await self._transport.open(peer, protocol)

    async def fault(self, peer: str, reason: str) -> None:
        await _ignore(peer, reason)


async def _ignore(_peer: str, _reason: str) -> None:
    """Remember nothing: whoever did wrong is asked no more in this fetch."""
