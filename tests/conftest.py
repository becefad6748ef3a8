"""A language model that tests of several folders share."""

import pytest

from zenso.models import load_generator


@pytest.fixture(scope="session")
def generator():
    """Gemma 3 270M, a base model without a chat template; two generations at a time."""
    with load_generator("gemma-3-270m", threads=2, context=512, parallel=2) as loaded:
        yield loaded
