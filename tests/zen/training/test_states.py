import numpy as np
import pytest

from zenso.canonical import Role
from zenso.errors import IntegrityError
from zenso.zen.training import states
from zenso.zen.training.states import cache_states

TEXTS = ["one", "two words", "three short words"] * 3


@pytest.fixture
def kernel(encoder):
    return encoder.canonical


def test_states_are_those_of_the_kernel(kernel, encoder, tmp_path):
    found = cache_states(tmp_path, TEXTS, kernel, Role.DOCUMENT)
    for row, expected in enumerate(encoder.encode_tokens(TEXTS)):
        assert np.array_equal(found.tokens[found.span(row)], expected.tokens)
        assert np.array_equal(found.pooled[row], expected.vector)
    assert found.sizes(np.array([0, 1])).tolist() == [3, 4]
    assert found.places(np.array([1, 0])).tolist() == [3, 4, 5, 6, 0, 1, 2]


def test_they_are_made_once(kernel, tmp_path):
    done = []
    cache_states(tmp_path, TEXTS, kernel, Role.DOCUMENT, lambda *given: done.append(given))
    assert done == [(9, 9)]
    cache_states(tmp_path, TEXTS, kernel, Role.DOCUMENT, lambda *given: done.append(given))
    assert len(done) == 1
    cache_states(tmp_path, TEXTS[:4], kernel, Role.DOCUMENT)
    cache_states(tmp_path, TEXTS, kernel, Role.QUERY)
    assert len(list(tmp_path.iterdir())) == 3


def test_interrupted_runs_go_on(kernel, tmp_path, monkeypatch):
    monkeypatch.setattr(states, "_AT_ONCE", 2)
    whole = cache_states(tmp_path / "whole", TEXTS, kernel, Role.DOCUMENT)

    def stop(done, _total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_states(tmp_path / "part", TEXTS, kernel, Role.DOCUMENT, stop)
    rest = []
    found = cache_states(tmp_path / "part", TEXTS, kernel, Role.DOCUMENT, lambda *given: rest.append(given[0]))
    assert rest == [6, 8, 9]
    assert np.array_equal(found.tokens, whole.tokens)
    assert np.array_equal(found.pooled, whole.pooled)


def test_files_of_another_length(kernel, tmp_path):
    cache_states(tmp_path, TEXTS, kernel, Role.DOCUMENT)
    tokens = next(tmp_path.glob("*/tokens"))
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(IntegrityError, match="remove the folder"):
        cache_states(tmp_path, TEXTS, kernel, Role.DOCUMENT)
