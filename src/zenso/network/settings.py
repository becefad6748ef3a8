"""What a node is told: `node.toml` in its folder, checked as a whole before anything starts."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zenso.errors import InputError, StorageError

FILE_NAME = "node.toml"
DEFAULT_LISTEN = "/ip4/127.0.0.1/tcp/7681"
Domain = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeLimits(_Section):
    """How much a node takes from its peers; beyond it they are refused with a reason, and cut off if they go on."""

    messages_per_second: float = Field(default=200, gt=0, description="from one peer, by gossip")
    burst: int = Field(default=400, ge=1, description="messages at once from one peer, by gossip")
    waiting: int = Field(default=512, ge=1, description="records that wait to be checked")
    step_seconds: float = Field(default=10, gt=0, description="until a message on a stream is whole")
    exchange_seconds: float = Field(default=300, gt=0, description="for one synchronisation with one peer")
    exchange_bytes: int = Field(default=256 * 2**20, ge=65_536, description="taken in one synchronisation")
    sync_seconds: float = Field(default=15, gt=0, description="between synchronisations with a peer chosen by chance")
    silence_seconds: float = Field(default=20, gt=0, description="until a connection without an answer is closed")
    store_bytes: int = Field(default=4 * 2**30, ge=2**20, description="of records on the disk")
    reputations: int = Field(default=100_000, ge=1000, description="keys and peers whose reputation is kept")
    ban_seconds: float = Field(default=3600, ge=0, description="for which a peer is cut off")
    objects_at_once: int = Field(default=4, ge=1, description="peers to whom large objects are sent")
    object_bytes_per_second: float = Field(default=100e6, gt=0, description="of large objects, to all peers together")


class NodeSettings(_Section):
    """All of it."""

    listen: list[str] = Field(default=[DEFAULT_LISTEN], min_length=1, max_length=8, description="multiaddresses")
    peers: list[str] = Field(default_factory=list, max_length=200, description="addresses with /p2p/ and an id")
    domains: list[Domain] = Field(default=["general"], min_length=1, max_length=64, description="that are followed")
    model: str = Field(default="all-MiniLM-L6-v2", description="whose codes the records carry")
    share_models: bool = Field(default=True, description="peers may fetch verified models of this machine")
    limits: NodeLimits = NodeLimits()

    @field_validator("domains")
    @classmethod
    def _once(cls, domains: list[str]) -> list[str]:
        if len(set(domains)) != len(domains):
            raise ValueError("a domain is named twice")
        return domains


def write_settings(folder: Path, settings: NodeSettings) -> Path:
    """Write the settings of a new node; the limits are left at their defaults, for whoever edits the file to add.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    path = folder / FILE_NAME

    def strings(values: list[str]) -> str:
        # JSON strings of printable ASCII are TOML strings too.
        return "[" + ", ".join(f'"{value}"' for value in values) + "]"

    for value in [*settings.listen, *settings.peers, settings.model]:
        if not value.isascii() or not value.isprintable() or '"' in value or "\\" in value:
            raise InputError(f"{value!r} cannot be written to {path}; use ASCII without quotes")
    text = (
        "# Addresses to listen on; 0.0.0.0 lets other machines in, and port 0 takes any that is free.\n"
        f"listen = {strings(settings.listen)}\n\n"
        "# Nodes to stay connected with, such as /ip4/192.0.2.7/tcp/7681/p2p/12D3Koo...; `zenso node keys` shows ids.\n"
        f"peers = {strings(settings.peers)}\n\n"
        "# What is exchanged: the records of these domains.\n"
        f"domains = {strings(settings.domains)}\n\n"
        f'model = "{settings.model}"\n\n'
        "# Whether peers may fetch models of this machine's cache, for which they reach no other source.\n"
        f"share_models = {str(settings.share_models).lower()}\n"
    )
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}); choose another folder") from None
    return path


def read_settings(folder: Path) -> NodeSettings:
    """Read the settings of a node.

    Raises
    ------
    InputError
        There is no node, or a setting is unknown or cannot be.
    StorageError
        The file cannot be read.
    """
    path = folder / FILE_NAME
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no node in {folder}; make one with `zenso node init {folder}`") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); give another folder") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is no TOML ({error}); correct it there") from None
    return check_settings(values, str(path))


def check_settings(values: dict[str, object], where: str) -> NodeSettings:
    """Check settings, whatever they were read from.

    Raises
    ------
    InputError
        Naming the first setting that is unknown or cannot be, and its value.
    """
    try:
        return NodeSettings.model_validate(values)
    except ValidationError as error:
        found = error.errors()[0]
        name = ".".join(map(str, found["loc"]))
        if found["type"] == "extra_forbidden":
            known = NodeLimits if name.startswith("limits.") else NodeSettings
            raise InputError(
                f"{where}: there is no setting {name}; there are: {', '.join(known.model_fields)}"
            ) from None
        message = found["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        raise InputError(f"{where}: {name} is {found['input']!r}: {message}") from None
