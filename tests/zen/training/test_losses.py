import pytest

torch = pytest.importorskip("torch", reason="training needs the extra torch")

from zenso.zen.training.losses import contrastive, distillation, diversity, noisy_median, one_bit  # noqa: E402
from zenso.zen.training.model import Coded  # noqa: E402


def coded(centres):
    return Coded(torch.zeros(len(centres), 384), centres, torch.sign(centres), torch.ones(centres.shape[:2]) > 0)


def test_distillation_is_nothing_where_student_and_teacher_agree():
    teacher = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    assert distillation(teacher.expand(3, 4, 6), teacher).item() == pytest.approx(0, abs=1e-6)
    assert distillation(teacher.flip(1).expand(3, 4, 6), teacher) > 1


def test_contrastive_passes_over_other_answers():
    scores = torch.tensor([[0.5, 0.5, 0.1]]).expand(3, 1, 3)
    answers = torch.tensor([[True, True, False]])
    both = contrastive(scores, torch.tensor([0]), answers)
    assert both < contrastive(scores, torch.tensor([0]), torch.tensor([[True, False, False]]))
    assert both < 0.01


def test_one_bit_loses_nothing_of_signs_and_most_of_a_single_axis():
    signs = torch.where(torch.arange(128) % 3 == 0, 1.0, -1.0).expand(2, 57, 128)
    assert one_bit(coded(signs)).item() == pytest.approx(0, abs=1e-6)
    axis = torch.zeros(2, 57, 128)
    axis[:, :, 5] = 1
    assert one_bit(coded(axis)).item() == pytest.approx(1 - 128**-0.5)


def test_the_median_of_reports_mends_most_of_what_is_wrong():
    signs = torch.ones(4, 57, 128)
    noisy = noisy_median(signs, torch.Generator().manual_seed(0))
    assert set(noisy.unique().tolist()) == {-1.0, 1.0}
    wrong = (noisy < 0).float().mean().item()
    # Five honest reports against two: wrong where two of the five err, 1 - .9^5 - 5 * .1 * .9^4.
    assert wrong == pytest.approx(1 - 0.9**5 - 0.5 * 0.9**4, abs=0.01)


def test_diversity_counts_how_alike_groups_are():
    alike = torch.ones(1, 57, 128)
    different = torch.eye(128)[:57][None]
    assert diversity(coded(alike)).item() == pytest.approx(1, abs=1e-5)
    assert diversity(coded(different)).item() == pytest.approx(0, abs=1e-6)
