"""Where an embedding comes from: everything that its bits depend on."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property

from blake3 import blake3

from zenso.canonical.artifact import Artifact
from zenso.canonical.wasm_kernel import kernel_digest, kernel_version


def model_hash(model_id: str) -> bytes:
    """BLAKE3 of the lower-case model id, 32 bytes (CFS-010, section 1)."""
    return blake3(model_id.lower().encode("utf-8")).digest()


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

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> bytes:
        """BLAKE3 of the canonical JSON, 32 bytes."""
        return blake3(self.to_json().encode("utf-8")).digest()
