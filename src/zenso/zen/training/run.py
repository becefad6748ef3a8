"""One stage of training: steps, validation, early stopping, and a checkpoint that a later run goes on from.

The same data, settings and seed give the same result, interrupted or not: a checkpoint holds weights, optimiser,
generators and history.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zenso.errors import InputError, IntegrityError

CHECKPOINT = "checkpoint.pt"
OnStep = Callable[[int, float, float], None]
Measured = dict[str, dict[int, float]]  # set, then dimensions: what is to be large


@dataclass(frozen=True)
class Settings:
    """Of one stage."""

    stage: int
    steps: int
    learning_rate: float
    seed: int = 0
    queries: int = 12  # of a batch
    candidates: int = 6  # documents drawn for each
    validate_every: int = 50
    patience: int = 4  # validations in a row that may be no better than the best


@dataclass
class History:
    """What a run has seen: (step, values) pairs."""

    losses: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    validations: list[tuple[int, Measured]] = field(default_factory=list)

    def means(self) -> list[tuple[int, float]]:
        """Mean over sets and dimensions of each validation."""
        return [
            (step, float(np.mean([value for found in sets.values() for value in found.values()])))
            for step, sets in self.validations
        ]

    def best(self) -> int:
        """Which validation is best, the first of equals."""
        means = [value for _, value in self.means()]
        return means.index(max(means))


class StageRun(ABC):
    """A stage that is being trained.

    Parameters
    ----------
    model : torch.nn.Module
    groups : list
        Parameter groups of the optimiser (Adam); a ``factor`` multiplies the learning rate.
    identity : mapping
        What a checkpoint must agree with, beside the settings: names of data, a digest of the start.
    folder : Path
        Of the run; a checkpoint there is gone on from.

    Raises
    ------
    InputError
        The checkpoint is of another run.
    IntegrityError
        It is damaged.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: list[dict[str, Any]],
        settings: Settings,
        identity: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self.settings = settings
        self.history = History()
        self.step = 0
        self._model = model
        self._path = folder / CHECKPOINT
        self._optimiser = torch.optim.Adam(groups, lr=settings.learning_rate)
        self.draw = np.random.default_rng(settings.seed)
        self.noise = torch.Generator().manual_seed(settings.seed)
        self._identity = asdict(settings) | dict(identity)
        self._best = self._copy()
        if self._path.exists():
            self._resume()
        else:
            self._validate()

    @abstractmethod
    def losses(self) -> dict[str, Tensor]:
        """Draw a batch and return the parts of its loss, which are summed."""

    @abstractmethod
    def measure(self) -> Measured:
        """Validate the model as it is."""

    def constrain(self) -> None:  # noqa: B027 - most models have no constraint
        """Bring weights back to where they must be, after each step."""

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or validation has not become better for long."""
        waited = len(self.history.validations) - 1 - self.history.best()
        return self.step >= self.settings.steps or waited >= self.settings.patience

    def train(self, on_step: OnStep, interrupt_at: int | None = None) -> None:
        """Train to the end of the stage, then take the weights that validation found best: those of the start, too.

        Parameters
        ----------
        on_step : callable
            Called after each step with its number, its loss and the last validation's mean.
        interrupt_at : int, optional
            Leave off after so many steps; a later run goes on from the last checkpoint.
        """
        while not self.is_over:
            if self.step == interrupt_at:
                return
            parts = self.losses()
            total = torch.stack(list(parts.values())).sum()
            for group in self._optimiser.param_groups:  # rates fall in a line to nothing
                rate = self.settings.learning_rate * group.get("factor", 1)
                group["lr"] = rate * (1 - self.step / self.settings.steps)
            self._optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            self._optimiser.step()
            with torch.no_grad():
                self.constrain()
            self.step += 1
            self.history.losses.append((self.step, {name: value.item() for name, value in parts.items()}))
            if self.step % self.settings.validate_every == 0 or self.step == self.settings.steps:
                self._validate()
            on_step(self.step, total.item(), self.history.means()[-1][1])
        self._model.load_state_dict(self._best)

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self._model.state_dict().items()}

    def _validate(self) -> None:
        self.history.validations.append((self.step, self.measure()))
        if self.history.best() == len(self.history.validations) - 1:
            self._best = self._copy()
        state = {
            "identity": self._identity,
            "step": self.step,
            "best": self._best,
            "model": self._copy(),
            "optimiser": self._optimiser.state_dict(),
            "draw": self.draw.bit_generator.state,
            "noise": self.noise.get_state(),
            "history": asdict(self.history),
        }
        fresh = self._path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self._path)

    def _resume(self) -> None:
        try:
            state = torch.load(self._path, weights_only=True)
            identity = state["identity"]
        except Exception as error:
            message = f"{self._path} is no checkpoint ({type(error).__name__}); remove it to begin again"
            raise IntegrityError(message) from error
        different = sorted(name for name in self._identity if identity.get(name) != self._identity[name])
        if different:
            message = f"{self._path} is of a run with other {', '.join(different)}; give another folder, or remove it"
            raise InputError(message)
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.draw.bit_generator.state = state["draw"]
        self.noise.set_state(state["noise"])
        self.step, self._best = state["step"], state["best"]
        self.history = History(**state["history"])
