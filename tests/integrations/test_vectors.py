import numpy as np
import pytest

from zenso.errors import InputError, ModelError
from zenso.integrations.vectors import CanonicalVectors, diverse


def unit(*angles):
    radians = np.deg2rad(angles)
    return list(np.rint(32767 * np.stack([np.cos(radians), np.sin(radians)], axis=1)).astype(np.int16))


def test_numbers_give_the_canonical_integers_back(encoder):
    vectors = CanonicalVectors("sentence-transformers/all-MiniLM-L6-v2")
    assert np.array_equal(
        np.rint(np.array(vectors.documents(["one", "two"])) * 32767), encoder.encode_vectors(["one", "two"])
    )
    assert np.linalg.norm(vectors.query("one")) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ModelError, match="no-such-model"):
        CanonicalVectors("no-such-model")
    with pytest.raises(InputError, match="empty"):
        vectors.documents(["one", ""])


def test_diverse_weighs_nearness_against_overlap():
    query = unit(0)[0]
    vectors = unit(10, 12, 60, -80)
    assert diverse(query, vectors, 4, 1.0) == [0, 1, 2, 3]
    assert diverse(query, vectors, 2, 0.5)[:2] == [0, 3]
    assert diverse(query, vectors, 2, 0.0)[0] == 0
    assert diverse(query, vectors, 9, 0.5)[0] == 0
    assert sorted(diverse(query, vectors, 9, 0.3)) == [0, 1, 2, 3]
    assert diverse(query, [], 3, 0.5) == []
    assert diverse(query, unit(5, 5, 5), 2, 0.5) == [0, 1]
