"""The losses that the three stages minimise."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize

from zenso.zen.training.model import Coded

# Of teacher and student alike. A query's best documents differ by some hundredths of a cosine.
TEMPERATURE = 0.03
# Stage 3, of the seed's protocol.
BITDELTA, BYZANTINE, DIVERSITY = 0.3, 0.5, 0.2
REPORTS, ATTACKERS, NOISE = 7, 2, 0.1


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of rankings, and squared error of scores in units of the teacher's variance.

    Parameters
    ----------
    student : shape (dimensions, queries, documents)
    teacher : shape (queries, documents)
    """
    wanted = log_softmax(teacher / TEMPERATURE, dim=-1).expand_as(student)
    divergence = kl_div(log_softmax(student / TEMPERATURE, dim=-1), wanted, reduction="none", log_target=True)
    error = (student - teacher).square().mean() / teacher.var()
    loss: Tensor = divergence.sum(dim=-1).mean() + 0.1 * error
    return loss


def contrastive(student: Tensor, positives: Tensor, answers: Tensor) -> Tensor:
    """InfoNCE at every size of code.

    Parameters
    ----------
    student : shape (dimensions, queries, documents)
    positives : int64, shape (queries,)
        The document that answers each query.
    answers : bool, shape (queries, documents)
        All that do; the others among them are no negatives.
    """
    others = answers.clone()
    others[torch.arange(len(positives)), positives] = False
    logits = (student / TEMPERATURE).masked_fill(others, -torch.inf)
    loss: Tensor = cross_entropy(logits.flatten(0, 1), positives.repeat(len(student)))
    return loss


def one_bit(coded: Coded) -> Tensor:
    """Return what signs lose of a group's centre: 1 - cosine, mean over groups in use."""
    centres = coded.centres[coded.used]
    lengths = centres.norm(dim=1).clamp(min=1e-9)
    lost: Tensor = (1 - centres.abs().sum(dim=1) / lengths / centres.shape[1] ** 0.5).mean()
    return lost


def noisy_median(signs: Tensor, generator: torch.Generator) -> Tensor:
    """Coordinate-wise median of seven reports of each code: two say the opposite, the others err in one bit of ten."""
    honest = REPORTS - ATTACKERS
    wrong = torch.rand((honest, *signs.shape), generator=generator) < NOISE
    votes = honest - 2 * wrong.sum(dim=0) - ATTACKERS
    return signs * torch.where(votes > 0, 1.0, -1.0)


def diversity(coded: Coded) -> Tensor:
    """Mean squared cosine between different groups of a document."""
    centres = normalize(coded.centres, dim=2) * coded.used[:, :, None]
    cosines = centres @ centres.transpose(1, 2)
    pairs = coded.used.sum(dim=1).square() - coded.used.sum(dim=1)
    off = cosines.square().sum(dim=(1, 2)) - cosines.diagonal(dim1=1, dim2=2).square().sum(dim=1)
    return (off / pairs.clamp(min=1)).mean()
