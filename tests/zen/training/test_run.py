"""Real training on a few sentences: what it learns, and that it goes on where it was."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra torch")

from zenso.errors import InputError, IntegrityError  # noqa: E402
from zenso.zen.slot_artifact import read_slot_artifact  # noqa: E402
from zenso.zen.training.principal_axes import principal_basis  # noqa: E402
from zenso.zen.training.run import CHECKPOINT, Settings  # noqa: E402
from zenso.zen.training.slots import SlotTraining, artifact_bytes  # noqa: E402

SHORT = Settings(stage=1, steps=12, learning_rate=1e-3, queries=6, candidates=3, validate_every=4, patience=10)


@pytest.fixture(scope="module")
def start(corpora):
    return principal_basis(corpora, 21)


@pytest.fixture
def begin(corpora, start, tmp_path):
    def run(folder="run", settings=SHORT, given=start):
        (tmp_path / folder).mkdir(exist_ok=True)
        nearest = [corpus.neighbours for corpus in corpora]
        return SlotTraining(corpora, given, nearest, settings, tmp_path / folder)

    return run


def trained(run, **options):
    run.train(lambda *_: None, **options)
    return run


def with_stage(stage, **changes):
    return Settings(**{**SHORT.__dict__, "stage": stage, **changes})


def test_the_start_has_orthogonal_rows(start):
    products = start.projection.astype(np.int64) @ start.projection.astype(np.int64).T
    assert np.abs(products - 16384**2 * np.eye(128)).max() < 16384 * 20


def test_loss_falls(begin):
    losses = [sum(parts.values()) for _, parts in trained(begin(settings=with_stage(1, steps=60))).history.losses]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_interrupted_runs_give_the_same_result(begin, stage):
    whole = trained(begin("whole", with_stage(stage)))
    trained(begin("part", with_stage(stage)), interrupt_at=6)
    rest = begin("part", with_stage(stage))
    assert rest.step == 4  # the last checkpoint
    trained(rest)
    assert np.array_equal(rest.basis.projection, whole.basis.projection)
    assert np.array_equal(rest.basis.units, whole.basis.units)
    assert rest.history == whole.history


def test_the_seed_decides(begin):
    one, same, other = (trained(begin(n, with_stage(1, seed=seed))) for n, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one.history == same.history
    assert one.history != other.history


def test_it_stops_early_and_keeps_the_best(begin):
    run = trained(begin(settings=with_stage(1, steps=100, learning_rate=0.3, patience=2)))
    assert run.step < 100
    means = [value for _, value in run.history.means()]
    measured = [value for found in run.measure().values() for value in found.values()]
    assert np.mean(measured) == max(means)


def test_a_finished_run_is_not_run_again(begin):
    done = trained(begin())
    assert trained(begin()).history == done.history


def test_the_artifact_can_be_read_and_encodes(begin, corpora):
    run = trained(begin())
    artifact = read_slot_artifact(artifact_bytes(run.basis, corpora[0].shipped), "trained")
    assert np.array_equal(artifact.basis.projection, run.basis.projection)
    assert np.array_equal(artifact.basis.units, run.basis.units)
    assert artifact.shipped.documents == 60  # of the retrieval set; triplets are no running text
    assert corpora[0].validate(artifact.basis) == run.measure()["notes"]


def test_checkpoints_of_other_runs_are_refused(begin, corpora):
    trained(begin())
    with pytest.raises(InputError, match="a run with other seed; give another folder"):
        begin(settings=with_stage(1, seed=5))
    with pytest.raises(InputError, match="a run with other start"):
        begin(given=principal_basis(corpora, 10))


def test_damaged_checkpoints_are_refused(begin, tmp_path):
    begin()
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(IntegrityError, match=r"is no checkpoint.*remove it to begin again"):
        begin()
