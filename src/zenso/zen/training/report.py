"""The report of a run: Markdown, JSON and a plot of loss and validation."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # a file is written, so no screen is needed
from matplotlib import pyplot as plt

from zenso.zen.training.run import History, Measured

REPORT, TABLE, PLOT = "report.json", "report.md", "loss.png"


def write_report(folder: Path, about: dict[str, Any], history: History) -> dict[str, Any]:
    """Write ``report.json``, ``report.md`` and ``loss.png``, and return what the first holds.

    Parameters
    ----------
    about : dict
        What the run was: command, settings, data, seconds.
    """
    best = history.best()
    before, after = history.validations[0][1], history.validations[best][1]
    report = about | {
        "steps_taken": history.losses[-1][0] if history.losses else 0,
        "best_step": history.validations[best][0],
        "before": before,
        "after": after,
        "validations": history.validations,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    (folder / TABLE).write_text(_markdown(about, report, before, after), "utf-8")
    _draw(folder / PLOT, history)
    return report


def _markdown(about: dict[str, Any], report: dict[str, Any], before: Measured, after: Measured) -> str:
    lines = ["# Training report", ""]
    lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in about.items()]
    lines += [f"- steps taken: {report['steps_taken']}, best after {report['best_step']}", ""]
    lines += ["| validation | dimensions | before | after |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {dimensions:,} | {value:.4f} | {after[name][dimensions]:.4f} |"
        for name, values in before.items()
        for dimensions, value in values.items()
    ]
    return "\n".join([*lines, "", f"![Loss and validation]({PLOT})", ""])


def _draw(path: Path, history: History) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    names = list(history.losses[0][1]) if history.losses else []
    for name in names:
        points = [(step, values[name]) for step, values in history.losses]
        left.plot(*zip(*points, strict=True), linewidth=0.5, alpha=0.3)
        color = left.lines[-1].get_color()
        smooth = [
            (
                points[min(place + 24, len(points) - 1)][0],
                sum(v for _, v in points[place : place + 25]) / len(points[place : place + 25]),
            )
            for place in range(0, len(points), 25)
        ]
        left.plot(*zip(*smooth, strict=True), color=color, label=name)
    left.set_xlabel("step")
    left.set_ylabel("loss, and its mean over 25 steps")
    if names:
        left.legend()
    steps = [step for step, _ in history.validations]
    for name, values in history.validations[0][1].items():
        for dimensions in values:
            found = [sets[name][dimensions] for _, sets in history.validations]
            right.plot(steps, found, "o-", markersize=3, label=f"{name}, {dimensions:,}")
    right.set_xlabel("step")
    right.set_ylabel("validation")
    right.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
