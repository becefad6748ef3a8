import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra torch")

from zenso.bitdelta import DIMENSIONS, encode_slots, prepare_query, score  # noqa: E402
from zenso.zen.slot_artifact import load_slot_artifact  # noqa: E402
from zenso.zen.training.model import SlotModel, late_interaction  # noqa: E402


@pytest.fixture
def basis():
    return load_slot_artifact("all-MiniLM-L6-v2").basis


@pytest.fixture
def batch(corpora):
    return corpora[0].batch(np.random.default_rng(3), 5, 4, corpora[0].neighbours)


def codes_of(batch, basis):
    documents = batch.documents
    cuts = np.cumsum(documents.sizes)[:-1]
    tokens = np.rint(documents.directions.numpy() * 32767).astype(np.int16)
    weights = documents.weights.numpy().astype(np.int64)
    pooled = np.rint(documents.pooled.numpy() * 32767).astype(np.int64)
    return encode_slots(pooled, np.split(tokens, cuts), np.split(weights, cuts), basis)


def test_a_basis_survives(basis):
    found = SlotModel(basis).basis()
    assert np.array_equal(found.projection, basis.projection)
    assert np.array_equal(found.units, basis.units)
    assert found.share == basis.share


def test_signs_are_those_of_the_code(batch, basis):
    coded = SlotModel(basis).encode(batch.documents)
    for row, code in enumerate(codes_of(batch, basis)):
        bits = np.unpackbits(code[52:], bitorder="little").reshape(57, 128)[: code[1]]
        assert coded.used[row].sum() == code[1]
        assert np.array_equal(coded.signs[row, : code[1]].detach().numpy() > 0, bits > 0)


def test_scores_are_those_of_the_code_but_for_the_planes_of_queries(batch, basis):
    model = SlotModel(basis)
    scores = model.scores(batch.queries, model.encode(batch.documents)).detach().numpy()
    codes = codes_of(batch, basis)
    cuts = np.cumsum(batch.queries.sizes)[:-1]
    tokens = np.split(np.rint(batch.queries.directions.numpy() * 32767).astype(np.int16), cuts)
    weights = np.split(batch.queries.weights.numpy().astype(np.int64), cuts)
    for row, (states, heavy) in enumerate(zip(tokens, weights, strict=True)):
        query = prepare_query(states, heavy, basis)
        for place, dimensions in enumerate(DIMENSIONS):
            exact = score(query, codes, dimensions=dimensions) / (query.weight * 32767.0**2)
            assert scores[place, row] == pytest.approx(exact, abs=0.03)


def test_gradients_reach_projection_and_units(batch, basis):
    model = SlotModel(basis)
    model.scores(batch.queries, model.encode(batch.documents)).square().sum().backward()
    assert model.projection.grad.abs().sum() > 0
    assert (model.log_units.grad != 0).all()


def test_rows_are_made_orthogonal_again(basis):
    model = SlotModel(basis)
    with torch.no_grad():
        model.projection += 0.02 * torch.randn(model.projection.shape, generator=torch.Generator().manual_seed(0))
    model.retract()
    products = model.projection @ model.projection.T
    assert (products - torch.eye(128)).abs().max() < 1e-5
    model.basis()


def test_the_teacher_is_late_interaction(batch):
    cosines = batch.queries.directions @ batch.documents.directions.T
    found = late_interaction(batch.queries, batch.documents, 0.25)
    query, document = slice(0, batch.queries.sizes[0]), slice(0, batch.documents.sizes[0])
    weights = batch.queries.weights[query]
    best = (cosines[query, document].amax(dim=1) * weights).sum() / weights.sum()
    pooled = batch.queries.pooled[0] @ batch.documents.pooled[0]
    assert found[0, 0].item() == pytest.approx((0.75 * best + 0.25 * pooled).item(), abs=1e-5)
