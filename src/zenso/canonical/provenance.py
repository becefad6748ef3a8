"""Where an embedding comes from: everything that its bits depend on."""

import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from blake3 import blake3

from zenso.canonical.artifact import Artifact
from zenso.canonical.identifiers import model_hash
from zenso.canonical.wasm_kernel import kernel_digest, kernel_version
from zenso.errors import IntegrityError


@dataclass(frozen=True)
class ModelProvenance:
    """Model, files and kernel that made an embedding; digests are BLAKE3 in hexadecimal."""

    model_id: str
    model_hash: str
    weights: str
    tokenizer: str
    artifact: str
    kernel: str
    version: int

    @classmethod
    def of(cls, artifact: Artifact) -> "ModelProvenance":
        """Read it off an opened artifact and the installed kernel."""
        model_id = str(artifact.config["model_id"])
        return cls(
            model_id=model_id,
            model_hash=model_hash(model_id).hex(),
            weights=str(artifact.config["weights_blake3"]),
            tokenizer=str(artifact.config["tokenizer_blake3"]),
            artifact=artifact.digest.hex(),
            kernel=kernel_digest().hex(),
            version=kernel_version(),
        )

    @classmethod
    def from_json(cls, text: str) -> "ModelProvenance":
        """Read what ``to_json`` wrote.

        Raises
        ------
        IntegrityError
            It is not canonical JSON of exactly these fields, or the model hash is not that of the model id.
        """
        wanted = {field.name: int if field.name == "version" else str for field in fields(cls)}
        try:
            given: Any = json.loads(text)
            # type(), because True is an int to isinstance; canonical text also rules out repeated keys.
            if type(given) is not dict or {name: type(value) for name, value in given.items()} != wanted:
                raise _unreadable(f"it must be an object of {', '.join(wanted)}")
            provenance = cls(**given)
            if provenance.to_json() != text:
                raise _unreadable("it is not in canonical form")
            if model_hash(provenance.model_id).hex() != provenance.model_hash:
                raise _unreadable(f"the model hash is not that of {provenance.model_id!r}")
        except (ValueError, RecursionError) as error:
            raise _unreadable(str(error)) from error
        return provenance

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> bytes:
        """BLAKE3 of the canonical JSON, 32 bytes."""
        return blake3(self.to_json().encode("utf-8")).digest()

    @cached_property
    def space(self) -> bytes:
        """BLAKE3 of the canonical JSON without ``kernel``, 32 bytes: equal where vectors may be compared.

        Builds of one kernel version give the same bits, so the digest of the build does not set vectors apart.
        """
        decisive = {name: value for name, value in asdict(self).items() if name != "kernel"}
        return blake3(json.dumps(decisive, sort_keys=True, separators=(",", ":")).encode("utf-8")).digest()


def _unreadable(why: str) -> IntegrityError:
    return IntegrityError(f"a model's provenance cannot be read ({why}); restore a copy")
