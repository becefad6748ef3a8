"""The small artifact that turns token states into slots: cells and token weights, learned once and shipped.

A safetensors file per model in ``zen/data``, made by ``scripts/build_slot_artifact.py``:

============= ======================= ============================================================================
cells         int16 (19, 384)         unit directions, scale 32767: centres of a spherical k-means over token states
token_weights uint8 (vocabulary,)     weight of a token in a query: 32 * sqrt(inverse document frequency), at least 1
============= ======================= ============================================================================
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from zenso.errors import IntegrityError, ModelError

DATA = Path(__file__).parent / "data"
CELLS = 19


@dataclass(frozen=True)
class SlotArtifact:
    """Cells and token weights of a model."""

    cells: NDArray[np.int16]  # (19, hidden)
    token_weights: NDArray[np.int32]  # (vocabulary,)
    digest: bytes  # BLAKE3 of the file, 32 bytes


def load_slot_artifact(model: str) -> SlotArtifact:
    """Load the artifact that is shipped for a model of the catalogue.

    Raises
    ------
    ModelError
        None is shipped for this model.
    IntegrityError
        The file is damaged.
    """
    path = DATA / f"{model}.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        known = sorted(p.stem for p in DATA.glob("*.safetensors"))
        message = f"no slot artifact is shipped for the model {model!r}; there is one for {', '.join(known)}"
        raise ModelError(message) from error
    try:
        tensors = load(data)
        cells, weights = tensors["cells"], tensors["token_weights"]
    except (SafetensorError, KeyError) as error:
        message = f"the slot artifact {path} is damaged ({error}); reinstall zenso"
        raise IntegrityError(message) from error
    if cells.dtype != np.int16 or cells.ndim != 2 or len(cells) != CELLS:
        message = f"the slot artifact {path} has cells {cells.dtype} {cells.shape}; reinstall zenso"
        raise IntegrityError(message)
    if weights.dtype != np.uint8 or weights.ndim != 1 or not weights.all():
        message = (
            f"the slot artifact {path} has token weights {weights.dtype} {weights.shape} or a zero; reinstall zenso"
        )
        raise IntegrityError(message)
    return SlotArtifact(cells, weights.astype(np.int32), blake3(data).digest())
