import pytest

from zenso.rerank import ZenReranker
from zenso.zen import load_encoder


@pytest.fixture(scope="session")
def encoder():
    return load_encoder()


@pytest.fixture(scope="session")
def reranker(encoder):
    return ZenReranker(encoder=encoder)
