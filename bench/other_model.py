"""A second encoder whose codes are real but of another provenance, as after an upgrade that changes a model's slots."""

import tempfile
from pathlib import Path

import numpy as np
import safetensors.numpy

from zenso.zen import ZenEncoder, slot_artifact


def with_other_slots(encoder: ZenEncoder) -> ZenEncoder:
    """Return an encoder with the same model and another projection."""
    name = f"{encoder.name}.safetensors"
    tensors = safetensors.numpy.load_file(slot_artifact.DATA / name)
    tensors["projection"] = np.roll(tensors["projection"], 1, axis=1)
    shipped = slot_artifact.DATA
    with tempfile.TemporaryDirectory() as place:
        safetensors.numpy.save_file(tensors, Path(place) / name)
        try:
            slot_artifact.DATA = Path(place)
            return ZenEncoder(encoder.name, encoder._encoder)  # noqa: SLF001 - one model, two sets of slots
        finally:
            slot_artifact.DATA = shipped
