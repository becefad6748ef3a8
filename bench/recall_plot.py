"""A plot of recall against bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # a file is written, so no screen is needed
from matplotlib import pyplot as plt

from bench.report import Scalar

_FAMILIES = {"rabitq": "RaBitQ", "rotated_rabitq": "RaBitQ, rotated first", "sq": "SQ", "pq": "PQ", "opq": "OPQ"}


def draw(path: Path, results: Mapping[str, Scalar], sizes: Sequence[int], codecs: Sequence[str]) -> None:
    """Draw Zenso's sizes and the codecs, whose names end in a number, one line a family."""

    def number(key: str) -> float:
        return float(results[key] or 0)

    figure, axes = plt.subplots(figsize=(8, 5))
    axes.plot(sizes, [number(f"zenso_{size}_recall_at_10") for size in sizes], "o-", linewidth=2, label="Zenso frame")
    for prefix, label in _FAMILIES.items():
        names = [name for name in codecs if name.rpartition("_")[0] == prefix]
        points = [(number(f"{name}_bytes"), number(f"{name}_recall_at_10")) for name in names]
        axes.plot(*zip(*points, strict=True), "s--", markersize=4, linewidth=1, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("bytes of a code")
    axes.set_ylabel("recall@10 against exact search")
    axes.set_title(f"{results['model']}: {results['documents']:,} documents, {results['queries']:,} queries")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight", format="png")
    plt.close(figure)
