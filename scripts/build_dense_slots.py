"""Learn from text what dense vectors of 1,920 to 7,680 dimensions are made with, and write the file that ships.

    python scripts/build_dense_slots.py --data FOLDER --output FILE [--cache FOLDER]

FOLDER holds ``squad11_dev`` (the BEIR layout) and ``nli`` (``triplets.jsonl``): text that may be trained on, CC BY-SA
4.0. Cells are centres of a spherical k-means of token states, two thirds of them from paragraphs and a third from
sentences; the rotations are principal axes of the cells of paragraphs and of every tenth question. FILE belongs in
``src/zenso/zen/data/dense/MODEL.safetensors``. Token states are kept in the cache; without one they take minutes to
make. Two machines may differ in the last digit of an axis, so the file is made once, and its digest is part of the
provenance of every dense vector.
"""

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from rich.progress import Progress, TaskID
from safetensors.numpy import save

from zenso.canonical import CanonicalEncoder, Role
from zenso.models import load_artifact
from zenso.zen.dense import CELL_BITS, CELLS, ROTATION_BITS, SCALE, SHARE_BITS, DenseSlots
from zenso.zen.slot_artifact import load_slot_artifact
from zenso.zen.training.states import CachedStates, cache_states
from zenso.zen.training.texts import read_training_set

TOKENS, ROUNDS, STARTS = 60_000, 20, 3
QUESTION_EVERY = 10
POOLED_SHARE = 0.75  # of slot 0, with the other 19 together as 1; chosen on SQuAD and NLI (docs/embeddings.md)

Floats = NDArray[np.float32]


def sample(states: CachedStates, count: int, draw: np.random.Generator) -> Floats:
    """Draw token directions."""
    places = np.sort(draw.choice(len(states.ids), count, replace=False))
    return states.tokens[places].astype(np.float32) / np.float32(SCALE)


def k_means(tokens: Floats, draw: np.random.Generator) -> tuple[Floats, float]:
    """Return unit centres, the one with most tokens first, and the mean cosine of tokens with theirs."""
    centres = tokens[draw.choice(len(tokens), CELLS, replace=False)]
    for _ in range(ROUNDS):
        nearest = (tokens @ centres.T).argmax(axis=1)
        sums = np.stack([tokens[nearest == cell].sum(axis=0) for cell in range(CELLS)])
        centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    cosines = tokens @ centres.T
    sizes = np.bincount(cosines.argmax(axis=1), minlength=CELLS)
    return centres[np.argsort(-sizes, kind="stable")], float(cosines.max(axis=1).mean())


def cells_of(slots: DenseSlots, states: CachedStates, every: int = 1) -> NDArray[np.float64]:
    """Gather texts as documents: (texts, 19, 384), in lengths of a direction."""
    spans = [states.span(row) for row in range(0, len(states), every)]
    cells = [slots.gather(states.tokens[span], states.ids[span], Role.DOCUMENT) for span in spans]
    return np.stack(cells) / (SCALE << CELL_BITS)


def axes_of(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return principal axes as columns, that of the largest variance first, each with a positive sum."""
    axes: NDArray[np.float64] = np.linalg.eigh(covariance)[1][:, ::-1]
    positive: NDArray[np.float64] = axes * np.where(axes.sum(axis=0) < 0, -1, 1)
    return positive


def learn(model: str, sentences: CachedStates, paragraphs: CachedStates, questions: CachedStates) -> DenseSlots:
    """Learn cells, then the rotations of what they gather."""
    draw = np.random.default_rng(0)
    tokens = np.concatenate([sample(paragraphs, TOKENS * 2 // 3, draw), sample(sentences, TOKENS // 3, draw)])
    centres = max(
        (k_means(tokens, np.random.default_rng(start)) for start in range(STARTS)), key=lambda found: found[1]
    )
    slots = DenseSlots(
        cells=np.rint(centres[0] * SCALE).astype(np.int16),
        token_weights=load_slot_artifact(model).token_weights.astype(np.uint8),
        cell_axes=np.empty(0, np.int16),
        axes=np.empty(0, np.int16),
        order=np.empty(0, np.int16),
        pooled_shares=np.empty(0, np.int32),
        digest=b"",
    )
    documents, asked = cells_of(slots, paragraphs), cells_of(slots, questions, QUESTION_EVERY)
    length = np.sqrt((documents**2).sum(axis=(1, 2)).mean())
    sets = [part / np.sqrt((part**2).sum()) for part in (documents, asked)]  # both count alike
    over_cells = axes_of(np.sum([np.einsum("nik,njk->ij", part, part) for part in sets], axis=0))
    over_numbers = axes_of(np.sum([np.einsum("nik,nil->kl", part, part) for part in sets], axis=0))
    rotated = [np.einsum("nik,ij,kl->njl", part, over_cells, over_numbers, optimize=True) for part in sets]
    variance = np.sum([(part**2).sum(axis=0).reshape(-1) for part in rotated], axis=0)
    return replace(
        slots,
        cell_axes=np.rint(over_cells * (1 << ROTATION_BITS)).astype(np.int16, order="C"),
        axes=np.rint(over_numbers * (1 << ROTATION_BITS)).astype(np.int16, order="C"),
        order=np.argsort(-variance, kind="stable").astype(np.int16),
        pooled_shares=np.rint(np.array([length, 1]) * POOLED_SHARE * (1 << SHARE_BITS)).astype(np.int32),
    )


def main() -> None:
    """Run the whole build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    options = parser.parse_args()

    encoder = CanonicalEncoder(load_artifact(options.model))
    squad, nli = (read_training_set(options.data / name) for name in ("squad11_dev", "nli"))
    texts = (nli.documents, Role.DOCUMENT), (squad.documents, Role.DOCUMENT), (squad.queries, Role.QUERY)
    with tempfile.TemporaryDirectory() as place, Progress() as bars:
        states = []
        for number, (wanted, role) in enumerate(texts, 1):
            task = bars.add_task(f"states {number} of {len(texts)}", total=len(wanted))
            tell = partial(_show, bars, task)
            states.append(cache_states(options.cache or Path(place), wanted, encoder, role, tell))
        slots = learn(options.model, *states)
    tensors = {name: value for name, value in vars(slots).items() if isinstance(value, np.ndarray)}
    data = save(tensors)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_bytes(data)
    print(f"{len(data):,} bytes, BLAKE3 {blake3(data).hexdigest()}")


def _show(bars: Progress, task: TaskID, done: int, total: int) -> None:
    bars.update(task, completed=done, total=total)


if __name__ == "__main__":
    main()
