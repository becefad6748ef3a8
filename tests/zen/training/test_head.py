import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra torch")

from zenso.errors import IntegrityError  # noqa: E402
from zenso.zen.training.head import ExpansionHead, HeadTraining, Pairs  # noqa: E402
from zenso.zen.training.run import Settings  # noqa: E402

DIMENSIONS = (48, 96, 192)


def pairs(seed, count=64, width=32):
    rng = np.random.default_rng(seed)
    documents = rng.standard_normal((count, width)).astype(np.float32)
    queries = documents + 0.5 * rng.standard_normal((count, width)).astype(np.float32)
    rows = np.arange(count)
    return Pairs(queries, documents, rows, np.stack([(rows + 1) % count, (rows + 2) % count], axis=1))


@pytest.fixture
def begin(tmp_path):
    def run(folder, stage=1, steps=40, **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        torch.manual_seed(0)
        head = ExpansionHead(32, 64, DIMENSIONS)
        settings = Settings(stage, steps, 1e-3, queries=32, validate_every=10, **changes)
        return HeadTraining(head, pairs(1), pairs(2), settings, "random", tmp_path / folder)

    return run


def test_vectors_are_unit_and_of_the_width_asked_for():
    found = ExpansionHead(32, 64, DIMENSIONS)(torch.randn(5, 32))
    assert found.shape == (5, 192)
    assert found.norm(dim=1).tolist() == pytest.approx([1] * 5, abs=1e-5)


def test_defaults_are_those_of_the_design():
    with torch.device("meta"):
        head = ExpansionHead(4096)
    assert [tuple(layer.weight.shape) for layer in (head.expand[0], head.project[0])] == [(6144, 4096), (7680, 6144)]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_each_stage_lowers_its_loss(begin, stage):
    run = begin("run", stage, 100, patience=99)
    run.train(lambda *_: None)
    losses = [sum(parts.values()) for _, parts in run.history.losses]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


def test_the_space_is_kept(begin):
    run = begin("run", 1, 200, patience=99)
    before = run.kept_similarity()
    run.train(lambda *_: None)
    for dimensions, kept in run.kept_similarity().items():
        assert kept > before[dimensions]
        assert kept > 0.6


def test_interrupted_runs_give_the_same_result(begin):
    whole = begin("whole")
    whole.train(lambda *_: None)
    begin("part").train(lambda *_: None, interrupt_at=15)
    rest = begin("part")
    rest.train(lambda *_: None)
    assert rest.history == whole.history
    assert rest.head.to_bytes() == whole.head.to_bytes()


def test_weights_survive(begin):
    head = begin("run").head
    again = ExpansionHead.from_bytes(head.to_bytes(), DIMENSIONS)
    given = torch.randn(3, 32)
    assert torch.equal(head(given), again(given))


def test_other_files_are_no_head(begin):
    with pytest.raises(IntegrityError, match="no weights of a head of 7680 dimensions"):
        ExpansionHead.from_bytes(b"something else")
    with pytest.raises(IntegrityError, match="7680"):
        ExpansionHead.from_bytes(begin("run").head.to_bytes())
