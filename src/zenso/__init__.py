"""Zenso: a search memory that many machines can share without trusting each other.

>>> import zenso
>>> memory = zenso.open("notes.zenso")
>>> memory.add(["first text", "second text"], metadata=[{"lang": "en"}, {"lang": "en"}])
>>> for hit in memory.search("a question", k=5, where={"lang": "en"}):
...     print(hit.score, hit.text)
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from zenso.errors import InputError, IntegrityError, ModelError, StorageError, ZensoError

if TYPE_CHECKING:
    from zenso.memory import Document, Hit, Memory
    from zenso.rerank import RerankResult, ZenReranker
    from zenso.zen import AlignedEncoder, ZenEncoder, encode_with_fallback, load_encoder

    open = Memory.open  # noqa: A001  # the one obvious name: zenso.open(path)

__version__ = _version("zenso")

# Loaded on first use, so that `import zenso` stays fast.
_HOMES = {
    "AlignedEncoder": "zenso.zen",
    "Document": "zenso.memory",
    "Hit": "zenso.memory",
    "Memory": "zenso.memory",
    "RerankResult": "zenso.rerank",
    "ZenEncoder": "zenso.zen",
    "ZenReranker": "zenso.rerank",
    "encode_with_fallback": "zenso.zen",
    "load_encoder": "zenso.zen",
}

__all__ = [
    "AlignedEncoder",
    "Document",
    "Hit",
    "InputError",
    "IntegrityError",
    "Memory",
    "ModelError",
    "RerankResult",
    "StorageError",
    "ZenEncoder",
    "ZenReranker",
    "ZensoError",
    "__version__",
    "encode_with_fallback",
    "load_encoder",
    "open",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever the name stands for
    if name == "open":
        value: Any = import_module("zenso.memory").Memory.open
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        message = f"module 'zenso' has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value
