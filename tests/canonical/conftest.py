"""The real model, and small random ones."""

import pytest
from hypothesis import settings

from bench.small_model import SmallModel
from zenso.canonical import CanonicalEncoder, SlotRule
from zenso.models import load_artifact
from zenso.zen.slot_artifact import load_slot_artifact

MODEL = "all-MiniLM-L6-v2"
settings.register_profile("zenso", deadline=None)  # a busy machine is not a bug
settings.load_profile("zenso")


@pytest.fixture(scope="session")
def artifact():
    return load_artifact(MODEL)


@pytest.fixture(scope="session")
def encoder(artifact):
    return CanonicalEncoder(artifact, threads=1)


@pytest.fixture(scope="session")
def threaded_encoder(artifact):
    return CanonicalEncoder(artifact, threads=2)


@pytest.fixture(scope="session")
def slot_rule():
    slots = load_slot_artifact(MODEL)
    return SlotRule(slots.basis.projection[:19], slots.token_weights)


@pytest.fixture
def small_model():
    return SmallModel


@pytest.fixture(scope="session")
def small_artifact(tmp_path_factory):
    return SmallModel().open(tmp_path_factory.mktemp("small"))
