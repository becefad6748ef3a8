"""Learn what the `frame` family ships: the tables of the trellis, and the codebook of a model.

    python -m scripts.build_frame_codebook --data FOLDER [--tables]

FOLDER holds the sets `nli` and `squad11_dev`, which may be trained on (CC BY-SA 4.0). Vectors are canonical; learning
itself uses floats, so another machine may give a file that differs in the last place of some numbers. A codebook is
made with the tables, so `--tables`, which learns those anew, changes both files.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, track
from safetensors.numpy import save_file

from bench.bitdelta_texts import training_texts
from zenso.bitdelta import train_codebook, trellis
from zenso.canonical import CanonicalEncoder
from zenso.models import load_artifact

TARGET = Path(trellis.__file__).parent / "data"
SPREADS = (0.0, 0.3)  # of the logarithm of the deviation: 0 gives Gaussian numbers, more gives heavier tails
VISITS, VECTORS, ROUNDS, STARTS = 384, 120, 40, 3
STEP = 1 << 16
PARAGRAPH_TOKENS = 60  # longer texts count as paragraphs,
PARAGRAPH_COPIES = 5  # of which there are few: they are taken several times


def learn_table(spread: float, start: int) -> tuple[float, NDArray[np.int16]]:
    """Lloyd's algorithm for one bit a number: encode, then move each entry to the centre of what chose it.

    Returns
    -------
    tuple of float and int16 (256,)
        The share of the variance that is left, and the table.
    """
    rng = np.random.default_rng(start)
    unit = 1 << trellis.TABLE_UNIT_BITS

    def numbers() -> NDArray[np.float64]:
        shape = (VECTORS, VISITS)
        deviations: NDArray[np.float64] = np.exp(spread * rng.standard_normal(shape) - spread**2)
        return rng.standard_normal(shape) * deviations

    entries = rng.permutation(np.quantile(numbers(), (np.arange(trellis.WINDOWS) + 0.5) / trellis.WINDOWS))
    visits = np.stack([np.arange(VISITS), np.full(VISITS, STEP), np.full(VISITS, trellis.MAX_PASS_WEIGHT // VISITS)])
    left = 1.0
    for _ in range(ROUNDS):
        table = np.rint(entries * unit).astype(np.int16)
        source = numbers()
        windows = np.empty((VECTORS, VISITS), np.uint8)
        for row, chosen in zip(np.rint(source * STEP).astype(np.int64), windows, strict=True):
            trellis.run_pass(row, 0, visits, table, trellis.round_to_costs(table), chosen)
        left = float(((source - table[windows] / unit) ** 2).mean() / (source**2).mean())
        sums = np.bincount(windows.ravel(), source.ravel(), trellis.WINDOWS)
        counts = np.bincount(windows.ravel(), minlength=trellis.WINDOWS)
        entries = np.where(counts > 3, sums / np.maximum(counts, 1), entries)
    return left, table


def learn_tables() -> NDArray[np.int16]:
    """Learn each table from several starts and keep the best."""
    tables = []
    for spread in SPREADS:
        tried = [learn_table(spread, start) for start in track(range(STARTS), f"table for spread {spread}")]
        left, table = min(tried, key=lambda pair: pair[0])
        print(f"spread {spread}: {left:.4f} of the variance is left")
        tables.append(table)
    return np.stack(tables)


def main() -> None:
    """Learn and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--tables", action="store_true", help="learn the tables of the trellis first")
    options = parser.parse_args()
    if options.tables:
        save_file({"tables": learn_tables()}, TARGET / "trellis.safetensors")
        trellis.tables.cache_clear()
    encoder = CanonicalEncoder(load_artifact(options.model))
    texts = training_texts(options.data)
    with Progress() as bars:
        task = bars.add_task("embed", total=len(texts))
        encoded = encoder.encode(texts, on_progress=lambda done: bars.advance(task, done))
        long = np.array([len(ids) >= PARAGRAPH_TOKENS for ids in encoded.ids])
        vectors = np.concatenate([encoded.pooled, *[encoded.pooled[long]] * (PARAGRAPH_COPIES - 1)])
        task = bars.add_task("learn", total=None)
        codebook = train_codebook(
            np.random.default_rng(0).permutation(vectors),
            on_progress=lambda done, blocks: bars.update(task, completed=done, total=blocks),
        )
    codebook.save(TARGET / f"{options.model}.safetensors")
    print(f"{len(vectors)} vectors of {len(texts)} texts; codebook {codebook.digest.hex()}")


if __name__ == "__main__":
    main()
