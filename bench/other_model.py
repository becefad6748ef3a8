"""A second encoder whose codes are real but of another provenance, as after an upgrade that changes a model's slots."""

from dataclasses import replace

import numpy as np

from zenso.zen import ZenEncoder
from zenso.zen.slot_artifact import load_slot_artifact


def with_other_slots(encoder: ZenEncoder) -> ZenEncoder:
    """Return an encoder with the same model and another projection."""
    shipped = load_slot_artifact(encoder.name)
    basis = replace(shipped.basis, projection=np.roll(shipped.basis.projection, 1, axis=1))
    return ZenEncoder(encoder.name, encoder.canonical, replace(shipped, basis=basis, digest=bytes(32)))
