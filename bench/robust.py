"""Robust aggregation: how far hostile rows move each rule, outliers, and every rule beside ByzFL's."""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks import ATTACKS
from bench.peer_process import PeerProcess
from bench.report import Scalar, left_out
from zenso import robust
from zenso.errors import InputError

_SERVER = Path(__file__).with_name("byzfl_server.py")
_SHARES = (30, 49)  # percent of rows that are hostile
_ROUNDS = 15
_MEDIAN_ROWS = 1000
_CLEAN_ROUNDS = {(100, 7680): 10, (100, 384): 40, (20, 384): 200, (8, 384): 500}


@dataclass(frozen=True)
class _Pair:
    """The same computation by Zenso and by ByzFL."""

    ours: Callable[[NDArray[Any]], NDArray[Any]]
    rule: str
    settings: dict[str, Any]


def _pairs(n: int, d: int) -> dict[str, _Pair]:
    f = 3 * n // 10

    def by(rule: str | robust.Rule, hostile: int | None = None) -> Callable[[NDArray[Any]], NDArray[Any]]:
        return lambda rows: robust.aggregate(rows, rule, f=hostile).vector

    # ByzFL takes three steps from 0, and raises distances below 0.1; it clips at 100 once, from 0. Its Krum counts one
    # neighbour more than published.
    zero = np.zeros(d)
    return {
        "mean": _Pair(by("mean"), "Average", {}),
        "median": _Pair(by("median"), "Median", {}),
        "trimmed_mean": _Pair(by("trimmed_mean", f), "TrMean", {"f": f}),
        "geometric_median": _Pair(
            by(robust.GeometricMedian(smoothing=0.1, iterations=3, tolerance=0, start=zero)), "GeometricMedian", {}
        ),
        "krum": _Pair(by(robust.Krum(neighbours=n - f - 1), f), "Krum", {"f": f}),
        "multi_krum": _Pair(by(robust.MultiKrum(neighbours=n - f - 1), f), "MultiKrum", {"f": f}),
        "centred_clipping": _Pair(
            by(robust.CentredClipping(radius=5.0, iterations=3, start=zero)),
            "CenteredClipping",
            {"tau": 5.0, "L": 3},
        ),
        "mixing": _Pair(lambda rows: robust.mix_neighbours(rows, f), "NNM", {"f": f}),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--byzfl", type=Path, metavar="PYTHON", help="Python of an environment that has byzfl")


def _honest(n: int, d: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Make reports of the same unit vector, each with noise of its own that is as long."""
    truth = random.standard_normal(d)
    noise = random.normal(0, d**-0.5, (n, d))
    return np.asarray(truth / np.linalg.norm(truth) + noise)


def _tolerance(n: int, d: int) -> dict[str, Scalar]:
    """Distance of the result from the honest mean, divided by the honest rows' own (root mean square)."""
    values: dict[str, Scalar] = {}
    for share in _SHARES:
        f = n * share // 100
        honest = _honest(n - f, d, np.random.default_rng(share))
        mean = honest.mean(axis=0)
        spread = np.sqrt(((honest - mean) ** 2).sum(axis=1).mean())
        for attack, report in ATTACKS.items():
            rows = np.concatenate([report(honest, f, np.random.default_rng(1)), honest])
            for name in robust.RULES:
                for mix in (False, True):
                    if name == "mean" and mix:
                        continue
                    try:
                        found = robust.aggregate(rows, name, f=0 if name == "mean" else f, mix=mix).vector
                        error = float(np.linalg.norm(found - mean) / spread)
                    except InputError:
                        error = None  # refused: too many hostile for the rule
                    values[f"{'mixed_' if mix else ''}{name}_{attack}_{share}_error"] = error
            far = robust.find_outliers(rows).flags
            values[f"outliers_{attack}_{share}_seen"] = float(far[:f].mean())
            values[f"outliers_{attack}_{share}_false"] = float(far[f:].mean())
    return values


def _false_alarms(*, quick: bool) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {}
    random = np.random.default_rng(2)
    for (n, d), rounds in _CLEAN_ROUNDS.items():
        for kind in ("normal", "heavy"):
            shares = []
            for _ in range(2 if quick else rounds):
                rows = random.standard_normal((n, d))
                if kind == "heavy":  # Student's t with 5 degrees of freedom
                    rows /= np.sqrt(random.chisquare(5, (n, d)) / 5)
                shares.append(robust.find_outliers(rows).flags.mean())
            values[f"false_alarms_{kind}_{n}_by_{d}"] = float(np.mean(shares))
    return values


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _beside(python: Path | None, n: int, d: int, rounds: int) -> dict[str, Scalar]:
    """Time every rule in turn with ByzFL's, one thread each, on the same float32 rows, and compare the results."""
    rows = _honest(n, d, np.random.default_rng(0)).astype(np.float32)
    rows[: 3 * n // 10] += np.float32(0.02)
    values: dict[str, Scalar] = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "rows.npy", Path(folder) / "result.npy"
        np.save(source, rows)
        peer = PeerProcess(python, _SERVER, str(source), str(target), package="byzfl") if python else None
        try:
            versions = peer.ask(None) if peer else {}
            values |= {f"peer_version_{name}": versions.get(name) for name in ("byzfl", "torch", "numpy")}
            for name, pair in _pairs(n, d).items():
                values |= _one_beside(name, pair, rows, peer, target, rounds)
        finally:
            if peer:
                peer.close()
    return values


def _one_beside(
    name: str, pair: _Pair, rows: NDArray[Any], peer: PeerProcess | None, target: Path, rounds: int
) -> dict[str, Scalar]:
    found = pair.ours(rows)  # compiles
    ours: list[float] = []
    theirs: dict[str, list[float]] = {"numpy": [], "torch": []}
    gaps: list[float] = []
    for _ in range(rounds):
        ours.append(_seconds(lambda: pair.ours(rows)))
        for kind, times in theirs.items():
            if peer:
                request = {"rule": pair.rule, "settings": pair.settings, "torch": kind == "torch"}
                times.append(peer.ask(request))
                gaps.append(float(np.abs(np.load(target) - found).max()))
    values: dict[str, Scalar] = {f"{name}_ms": 1000 * median(ours)}
    for kind, times in theirs.items():
        values[f"{name}_byzfl_{kind}_ms"] = 1000 * median(times) if times else None
    best = min(theirs.values(), key=median) if peer else None
    values[f"{name}_times_faster"] = (
        median(theirs_s / ours_s for theirs_s, ours_s in zip(best, ours, strict=True)) if best else None
    )
    return values | {f"{name}_max_difference": max(gaps) if gaps else None}


def _large_median(n: int, d: int, rounds: int) -> dict[str, Scalar]:
    rows = np.random.default_rng(3).standard_normal((n, d)).astype(np.float32)
    values: dict[str, Scalar] = {"large_median_rows": n}
    for given in (rows, (rows * 1000).astype(np.int16)):
        robust.aggregate(given[:3])  # compiles
        for threads in (1, 2):
            times = [_seconds(partial(robust.aggregate, given, threads=threads)) for _ in range(rounds)]
            name = f"large_median_{given.dtype}_{threads}_threads"
            values |= {f"{name}_ms": 1000 * median(times), f"{name}_best_ms": 1000 * min(times)}
    return values


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure tolerance, false alarms, and time beside ByzFL."""
    n, d = (20, 384) if options.quick else (100, 7680)
    rounds = 2 if options.quick else _ROUNDS
    if options.byzfl is None:
        left_out("ByzFL", "no --byzfl")
    return {
        "rows": n,
        "dimensions": d,
        **_beside(options.byzfl, n, d, rounds),
        **_large_median(50 if options.quick else _MEDIAN_ROWS, d, rounds),
        **_tolerance(n, d),
        **_false_alarms(quick=options.quick),
    }
