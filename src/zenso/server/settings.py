"""What `zenso serve` is told: a `zenso.toml`, checked as a whole before anything starts."""

import difflib
import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zenso.errors import InputError, StorageError

DEFAULT_PORT = 7680
DEFAULT_KEYS = platformdirs.user_config_path("zenso", appauthor=False) / "keys.json"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


_ORIGIN = re.compile(r"https?://[^/\s]+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:]+")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """How much the server takes on; beyond it a request is refused with a reason."""

    body_bytes: int = Field(default=32 * 2**20, ge=1024, description="of a request, except of an import")
    import_bytes: int = Field(default=4 * 2**30, ge=1024, description="of an import, which is read as it comes")
    connections: int = Field(default=1000, ge=1, description="at the same time")
    head_seconds: float = Field(default=20, gt=0, description="until the line and headers of a request are there")
    idle_seconds: float = Field(
        default=30, gt=0, description="without a byte, of a body that is sent or of an answer that is read"
    )
    request_seconds: float = Field(default=120, gt=0, description="until a request that is not streamed is given up")
    queued_tokens: int = Field(default=262_144, ge=512, description="that wait for the model")
    queued_requests: int = Field(default=256, ge=1, description="that wait for a thread")
    worker_threads: int = Field(default=16, ge=1, description="searches and changes at the same time")
    requests_per_minute: int = Field(default=0, ge=0, description="of one key or address; 0 is no limit")
    shutdown_seconds: float = Field(
        default=30, gt=0, description="for requests that run when the server is told to end"
    )


class Tls(_Section):
    """Certificate and key, both PEM files; without them the server speaks plain HTTP."""

    certificate: Path
    private_key: Path


class Generation(_Section):
    """The language model behind chat; needs ``zenso[llm]``."""

    model: str = Field(description="a name of the catalogue, or a GGUF file")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="of the file")
    context: int | None = Field(default=None, ge=256, description="tokens; 4,096, or what the model was trained for")
    queued: int = Field(default=16, ge=0, description="answers that wait while one is written")


class Logging(_Section):
    """What is logged; never the text of documents, queries or answers."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Tracing(_Section):
    """OpenTelemetry; needs ``zenso[otel]``."""

    endpoint: str = Field(description="of an OTLP collector over HTTP, with /v1/traces", pattern="^https?://")
    share: float = Field(default=1, ge=0, le=1, description="of requests that are traced, besides those of traces")


class Settings(_Section):
    """All of it. Paths are relative to the file they were read from."""

    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    model: str = Field(default="all-MiniLM-L6-v2", description="that `/v1/embeddings` and `/rerank` run")
    threads: int | None = Field(default=None, ge=1, description="processors for the model; all by default")
    memories: dict[Name, Path] = Field(default_factory=dict, description="name to folder; the first is the default")
    data: Path | None = Field(default=None, description="folder below which `POST /v1/memories` makes memories")
    keys: Path = Field(default=DEFAULT_KEYS, description="file that `zenso keys` writes")
    cors_origins: list[str] = Field(default_factory=list, description="of pages that may call; none by default")
    hosts: list[str] = Field(default_factory=list, description="names by which the server is reached besides its own")
    limits: Limits = Limits()
    node: Path | None = Field(default=None, description="folder of a node of the network that runs beside the server")
    tls: Tls | None = None
    generation: Generation | None = None
    logging: Logging = Logging()
    tracing: Tracing | None = None

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; give such as https://example.org, without a path")
        return origins

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host; give a name such as search.example.org, without a port")
        return hosts

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the address."""
        return not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(path: Path | None = None, **given: object) -> Settings:
    """Read a configuration file; what is given besides, and is not None, replaces what it says.

    Raises
    ------
    InputError
        Naming the first setting that is unknown or cannot be, and its value.
    StorageError
        The file cannot be read.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _read(path)
    values |= {name: value for name, value in given.items() if value is not None}
    where = f"{path}: " if path is not None else ""
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise InputError(where + _first(error)) from None
    return settings if path is None else _resolved(settings, path.absolute().parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}); give --config another file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is no TOML ({error}); correct it there") from None


def _first(error: ValidationError) -> str:
    """Say what is wrong with one setting, and what to do about it."""
    found = error.errors()[0]
    place, value = found["loc"], found["input"]
    name = ".".join(str(part) for part in place if part != "[key]")
    if found["type"] == "extra_forbidden":
        section = _fields(place[:-1])
        near = difflib.get_close_matches(str(place[-1]), section, 1)
        remedy = f"did you mean {near[0]}?" if near else f"there are: {', '.join(section)}"
        return f"there is no setting {name}; {remedy}"
    if found["type"] == "missing":
        return f"{name} is missing; add it"
    message = found["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{name} is {value!r}: {message}"


def _fields(place: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings of a section."""
    section: type[BaseModel] = Settings
    for part in place:
        kinds = [section.model_fields[str(part)].annotation]
        section = next(kind for kind in (*kinds, *get_args(kinds[0])) if isinstance(kind, type))
    return list(section.model_fields)


def _resolved(settings: Settings, folder: Path) -> Settings:
    """Make paths of a file absolute: a server that is started elsewhere reads the same ones."""
    changes: dict[str, Any] = {
        "memories": {name: folder / path.expanduser() for name, path in settings.memories.items()},
        "keys": folder / settings.keys.expanduser(),
    }
    if settings.data is not None:
        changes["data"] = folder / settings.data.expanduser()
    if settings.node is not None:
        changes["node"] = folder / settings.node.expanduser()
    if settings.tls is not None:
        changes["tls"] = Tls(
            certificate=folder / settings.tls.certificate.expanduser(),
            private_key=folder / settings.tls.private_key.expanduser(),
        )
    return settings.model_copy(update=changes)
