"""Plots of an evaluation, as SVG in the colours of a light or a dark page."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from zenso.evaluation.evaluation import Evaluation
from zenso.evaluation.measures import CUTOFFS, RECALL
from zenso.evaluation.rankings import RANKINGS

_TICKS = (1, 2, 5, 10, 20, 50, 100)
_WIDTH = 8.0  # inches


@dataclass(frozen=True)
class Theme:
    """Colours of a page; those of series are told apart by people who do not see red and green apart."""

    paper: str
    ink: str
    grid: str
    better: str
    worse: str
    series: tuple[str, ...]


# After Okabe and Ito, darker on white and lighter on black.
LIGHT = Theme(
    paper="#ffffff",
    ink="#1f2328",
    grid="#d8dee4",
    better="#0072b2",
    worse="#c04a00",
    series=("#5c636b", "#0072b2", "#2f9bd6", "#84c5ea", "#b07d00", "#00805a", "#5b4bb5", "#c04a00", "#a8508a"),
)
DARK = Theme(
    paper="#14171c",
    ink="#e6e9ed",
    grid="#363c44",
    better="#56b4e9",
    worse="#f0894a",
    series=("#9aa4af", "#56b4e9", "#2c8fc9", "#1f6f9f", "#e5b52e", "#26c493", "#a99cf2", "#f0894a", "#dd8fbf"),
)


def label(name: str) -> str:
    """Return the name of a ranking as people write it."""
    return name.replace("_", " ")


def plot_ndcg(evaluation: Evaluation, theme: Theme) -> str:
    """Draw a bar of nDCG@10 for each ranking, with its 95% interval."""
    results = list(evaluation.rankings.values())
    with _figure(theme, 0.9 + 0.42 * len(results)) as (make, finish):
        axes = make()
        means = [one.mean("ndcg_at_10") for one in results]
        places = np.arange(len(results))
        colours = [theme.series[0] if one.name == evaluation.baseline else theme.better for one in results]
        axes.barh(places, means, height=0.62, color=colours)
        reach = [[mean - one.low for mean, one in zip(means, results, strict=True)]]
        reach += [[one.high - mean for mean, one in zip(means, results, strict=True)]]
        axes.errorbar(means, places, xerr=np.maximum(reach, 0), fmt="none", ecolor=theme.ink, capsize=3, linewidth=1.2)
        for place, mean, one in zip(places, means, results, strict=True):
            axes.annotate(f"{mean:.3f}", (one.high, place), (6, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [label(one.name) for one in results])
        axes.invert_yaxis()
        axes.set_xlim(0, min(1.12, max(one.high for one in results) * 1.12 + 0.01))
        axes.set_xlabel("nDCG@10, mean over queries, with its 95% interval")
        axes.grid(visible=False, axis="y")
        return finish()


def plot_recall(evaluation: Evaluation, theme: Theme) -> str:
    """Draw recall@k of each ranking."""
    with _figure(theme, 4.4) as (make, finish):
        axes = make()
        places = list(RANKINGS)
        for (name, one), marker in zip(evaluation.rankings.items(), cycle("osD^vPX*"), strict=False):
            axes.plot(
                CUTOFFS,
                [one.mean(key) for key in RECALL],
                marker=marker,
                markersize=4.5,
                linewidth=1.6,
                linestyle="--" if name == evaluation.baseline else "-",
                color=theme.series[places.index(name)],
                label=label(name),
            )
        axes.set_xscale("log")
        axes.set_xticks(_TICKS, [str(k) for k in _TICKS])
        axes.minorticks_off()
        axes.set_xlabel("k, documents looked at")
        axes.set_ylabel("recall@k, mean over queries")
        axes.set_ylim(top=1.02)
        axes.legend(loc="lower right", frameon=False, ncols=2)
        return finish()


def plot_differences(evaluation: Evaluation, theme: Theme) -> str:
    """Draw every query's difference in nDCG@10 from the baseline, sorted, one panel a ranking."""
    compared = list(evaluation.comparisons.values())
    columns = min(4, len(compared))
    rows = -(-len(compared) // columns)
    with _figure(theme, 0.6 + 1.9 * rows) as (make, finish):
        panels = make(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, one in zip(panels, compared, strict=False):
            # A step at both ends of each query, so that even one query has a width.
            values = np.repeat(np.sort(one.differences)[::-1], 2)
            ends = np.repeat(np.arange(len(one.differences) + 1), 2)[1:-1]
            panel.fill_between(ends, np.maximum(values, 0), color=theme.better, linewidth=0)
            panel.fill_between(ends, np.minimum(values, 0), color=theme.worse, linewidth=0)
            panel.axhline(0, color=theme.ink, linewidth=0.8)
            panel.set_title(label(one.name))
            panel.annotate(
                f"{one.better} better", (0.97, 0.9), xycoords="axes fraction", ha="right", color=theme.better
            )
            panel.annotate(f"{one.worse} worse", (0.03, 0.06), xycoords="axes fraction", color=theme.worse)
            panel.set_xlim(0, len(one.differences))
            panel.set_ylim(-1.05, 1.05)
        for panel in panels[len(compared) :]:
            panel.set_visible(False)
        for panel in panels[len(compared) - columns : len(compared)]:
            panel.tick_params(labelbottom=True)  # above one that is not seen too
        panels[0].figure.supxlabel("queries, those that gain most first", fontsize="medium")
        panels[0].figure.supylabel(f"nDCG@10 above {label(evaluation.baseline)}", fontsize="medium")
        return finish()


@contextmanager
def _figure(theme: Theme, height: float) -> Iterator[tuple[Callable[..., Any], Callable[[], str]]]:
    """Make a figure without a screen; yield what adds its axes, and what writes it down."""
    from matplotlib import rc_context  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    style: Any = {  # the type of its keys is of one release of matplotlib
        "axes.edgecolor": theme.ink,
        "axes.facecolor": theme.paper,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.labelcolor": theme.ink,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "figure.facecolor": theme.paper,
        "font.size": 10,
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "svg.hashsalt": "zenso",  # the same plot is the same file
        "text.color": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
    }
    with rc_context(style):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")

        def finish() -> str:
            out = io.StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
            return out.getvalue()

        yield figure.subplots, finish
