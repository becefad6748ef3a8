"""Whole runs: one stage or all, of slots or of a head, from folders of data to files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray

from zenso.bitdelta.basis import HALF_SHARE
from zenso.errors import InputError
from zenso.zen import ZenEncoder
from zenso.zen.slot_artifact import read_slot_file
from zenso.zen.training.corpus import Corpus, OnProgress, open_corpora
from zenso.zen.training.head import ExpansionHead, HeadTraining, Pairs
from zenso.zen.training.principal_axes import principal_basis
from zenso.zen.training.report import write_report
from zenso.zen.training.run import Settings, StageRun
from zenso.zen.training.slots import SCHEDULE, SlotTraining, artifact_bytes
from zenso.zen.training.texts import TrainingSet

# Chosen on held-out SQuAD questions: see docs/training.md.
SHARE = 21
HEAD_FILE = "head.safetensors"
HEAD_SCHEDULE = {1: (120, 3e-5), 2: (60, 1e-5), 3: (60, 1e-5)}
HEAD_BATCH = 64
NEGATIVES = "negatives.npy"

# Finds hard negatives: given a corpus, returns rows of documents for each of its pairs, (pairs, any number).
Mine = Callable[[Corpus], NDArray[np.int64]]


@dataclass(frozen=True)
class Plan:
    """What is to be trained."""

    data: Sequence[TrainingSet]
    out: Path
    cache: Path  # of token states
    stages: Sequence[int] = (1, 2, 3)
    start: Path | None = None  # an artifact or a head; the principal axes, or random weights, if there is none
    share: int = SHARE
    steps: int | None = None  # of each stage, if not those of the schedule
    seed: int = 0
    command: str = ""

    def settings(self, stage: int, schedule: dict[int, tuple[int, float]]) -> Settings:
        """Return the settings of a stage."""
        steps, rate = schedule[stage]
        return Settings(stage, steps if self.steps is None else self.steps, rate, self.seed)

    def folder(self, stage: int) -> Path:
        """Return where a stage's checkpoint and report go, making it."""
        folder = self.out / f"stage-{stage}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}); give a file that a run of `zenso train` wrote"
        raise InputError(message) from error


def _finish(run: StageRun, plan: Plan, told: dict[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Train a stage to its end and report on it."""
    stage, steps = run.settings.stage, run.settings.steps
    torch.use_deterministic_algorithms(mode=True)
    began = perf_counter()

    def on_step(step: int, loss: float, validation: float) -> None:
        on_progress(f"stage {stage}, loss {loss:.3f}, validation {validation:.4f}", step, steps)

    run.train(on_step)
    about = {"command": plan.command, **told, "stage": stage, "seed": plan.seed, "steps_asked": steps}
    about |= {"seconds": round(perf_counter() - began, 1)}
    return write_report(plan.folder(stage), about, run.history)


def train_slots(plan: Plan, encoder: ZenEncoder, mine: Mine, on_progress: OnProgress) -> list[dict[str, Any]]:
    """Train slots in the stages of a plan; the artifact of the last is in its folder, named after the model.

    Parameters
    ----------
    mine : callable
        Called once for each corpus before stage 2 or 3, unless an earlier run kept what it found.
    on_progress : callable
        Called with a description, and the numbers done and of all.

    Returns
    -------
    list of dict
        The report of each stage.

    Raises
    ------
    InputError
        Data or settings cannot be used, or the folder is of another run.
    """
    if not 0 <= plan.share <= HALF_SHARE:
        message = f"the share of slot 0 is {plan.share}; it must lie within 0 to {HALF_SHARE}"
        raise InputError(message)
    corpora = open_corpora(plan.data, plan.cache, encoder.canonical, on_progress)
    if plan.start is None:
        basis = principal_basis(corpora, plan.share)
    else:
        basis = read_slot_file(plan.start, len(corpora[0].shipped.counts)).basis
    path = plan.out / f"{encoder.name}.safetensors"
    told = {"model": encoder.name, "data": [corpus.data.name for corpus in corpora], "artifact": path.name}
    reports = []
    for stage in plan.stages:
        nearest = [corpus.neighbours if stage == 1 else _mined(corpus, plan.out, mine) for corpus in corpora]
        run = SlotTraining(corpora, basis, nearest, plan.settings(stage, SCHEDULE), plan.folder(stage))
        reports.append(_finish(run, plan, told, on_progress))
        basis = run.basis
        path.write_bytes(artifact_bytes(basis, corpora[0].shipped))
    return reports


def _mined(corpus: Corpus, out: Path, mine: Mine) -> NDArray[np.int64]:
    path = out / f"{corpus.data.name}-{NEGATIVES}"
    if path.is_file():
        kept: NDArray[np.int64] = np.load(path)
        if len(kept) == len(corpus.queries):
            return kept
    found = mine(corpus)
    out.mkdir(parents=True, exist_ok=True)
    np.save(path, found)
    return found


def train_head(plan: Plan, encoder: ZenEncoder, on_progress: OnProgress) -> list[dict[str, Any]]:
    """Train an expansion head on the pooled vectors of a model, in the stages of a plan.

    Raises
    ------
    InputError
        Data or settings cannot be used, or the folder is of another run.
    IntegrityError
        The start is no head.
    """
    corpora = open_corpora(plan.data, plan.cache, encoder.canonical, on_progress)
    training, validation = (
        _joined([_pairs(corpus, kind) for corpus in corpora]) for kind in ("training", "validation")
    )
    torch.manual_seed(plan.seed)
    hidden = corpora[0].documents.pooled.shape[1]
    head = ExpansionHead(hidden) if plan.start is None else ExpansionHead.from_bytes(_read(plan.start))
    names = [corpus.data.name for corpus in corpora]
    told = {"model": encoder.name, "data": names, "head": HEAD_FILE, "width": hidden}
    reports = []
    for stage in plan.stages:
        settings = replace(plan.settings(stage, HEAD_SCHEDULE), queries=HEAD_BATCH, validate_every=20)
        identity = blake3(head.to_bytes()).hexdigest() + " ".join(names)
        run = HeadTraining(head, training, validation, settings, identity, plan.folder(stage))
        report = _finish(run, plan, told, on_progress)
        reports.append(report | {"similarity_kept": run.kept_similarity()})
        (plan.out / HEAD_FILE).write_bytes(head.to_bytes())
    return reports


def _pairs(corpus: Corpus, kind: str) -> Pairs:
    """Pooled vectors of pairs, with the nearest documents that do not answer as hard negatives."""
    data = corpus.data
    chosen = data.training_pairs if kind == "training" else corpus.validation[0]
    documents = np.flatnonzero(~data.held_out) if kind == "training" else corpus.validation[1]
    place = np.full(len(data.documents), -1, np.int64)
    place[documents] = np.arange(len(documents))
    nearest = corpus.neighbours[chosen] if kind == "training" else np.zeros((len(chosen), 1), np.int64)
    wrong = np.where(nearest == data.positives[chosen][:, None], np.roll(nearest, 1, axis=1), nearest)
    return Pairs(
        corpus.queries.pooled[chosen].astype(np.float32) / np.float32(32767),
        corpus.documents.pooled[documents].astype(np.float32) / np.float32(32767),
        place[data.positives[chosen]],
        place[wrong] if kind == "training" else wrong,
    )


def _joined(parts: Sequence[Pairs]) -> Pairs:
    starts = np.cumsum([0, *(len(part.documents) for part in parts[:-1])])
    width = min(part.negatives.shape[1] for part in parts)
    return Pairs(
        np.concatenate([part.queries for part in parts]),
        np.concatenate([part.documents for part in parts]),
        np.concatenate([part.positives + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.negatives[:, :width] + start for part, start in zip(parts, starts, strict=True)]),
    )
