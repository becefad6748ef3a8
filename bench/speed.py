"""Speed from text to pooled vector, side by side with fp32 peers, and the latency of one short query."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from bench.accuracy import Float64, cosines
from bench.onnx_peer import OnnxEncoder
from bench.report import Scalar, left_out
from bench.sentence_transformers_peer import SentenceTransformersEncoder
from zenso.canonical import Artifact, CanonicalEncoder
from zenso.canonical.kernel_call import Kernel
from zenso.canonical.native_kernel import NativeKernel, best_twin
from zenso.canonical.tokenizer import TextTokenizer
from zenso.canonical.wasm_kernel import WasmKernel

ENGINES = ("wasm", "native")
PEERS = ("onnx", "sentence_transformers")
THREADS = (1, 2)
BATCHES = (1, 4, 8, 16, 32)  # texts; 1 is each alone, without padding
ROUNDS = 4
QUERY = "how do i parse a date from a string"
QUERY_TOKENS = 12  # [CLS] and [SEP] included
QUERIES, QUICK_QUERIES, WARM_UP = 2_000, 200, 50

Vectors = NDArray[np.int16] | NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """A model, and what every contender encodes."""

    artifact: Artifact
    folder: Path  # the model's published files
    texts: Sequence[str]
    tokens: int  # of all texts
    references: Float64  # their unit vectors in float64


@dataclass(frozen=True)
class _Contender:
    encode: Callable[[int], tuple[float, Vectors]]  # all texts in batches of so many: seconds and vectors
    batches: Sequence[int]


@dataclass(frozen=True)
class _Lap:
    seconds: float
    batch: int
    vectors: Vectors


def compare(subject: Subject, python: Path | None, bars: Progress) -> dict[str, Scalar]:
    """Tokens a second of Zenso's engines and of the peers, and their ratios, for each number of threads.

    Parameters
    ----------
    python : Path, optional
        Interpreter of an environment that has sentence-transformers; without it the keys of that peer are None.
    """
    if best_twin() is None:
        left_out("native", "no native twin works here")
    if python is None:
        left_out("sentence-transformers", "give --sentence-transformers PYTHON; bench/README.md says how to get one")
        return _compare(subject, None, bars)
    tokens = int(subject.artifact.config["max_tokens"])
    with closing(SentenceTransformersEncoder(python, subject.folder, subject.texts, tokens)) as peer:
        return _compare(subject, peer, bars)


def _compare(subject: Subject, peer: SentenceTransformersEncoder | None, bars: Progress) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    laps: dict[int, dict[str, _Lap]] = {}
    for threads in THREADS:
        contenders = _engines(subject, threads) | _peers(subject, threads, peer)
        laps[threads] = _race(contenders, f"speed, threads: {threads}", bars)
        suffix = "" if threads == 1 else f"_{threads}_threads"
        found |= {f"{key}{suffix}": value for key, value in _rates(laps[threads], subject.tokens).items()}
    for name in PEERS:
        runs = [runs[name].vectors for runs in laps.values() if name in runs]
        least = [float(cosines(subject.references, vectors).min()) for vectors in runs]
        found[f"{name}_min_cosine_vs_float64"] = min(least, default=None)
    versions = peer.versions if peer else {}
    return found | {f"version_{name}": versions.get(name) for name in ("sentence_transformers", "torch")}


def _engines(subject: Subject, threads: int) -> dict[str, _Contender]:
    twin = best_twin()
    kernels: dict[str, Callable[[Artifact], Kernel]] = {"wasm": WasmKernel}
    if twin:
        kernels["native"] = lambda artifact: NativeKernel(artifact, twin)

    def contender(new_kernel: Callable[[Artifact], Kernel]) -> _Contender:
        encoder = CanonicalEncoder(subject.artifact, threads=threads, new_kernel=new_kernel)
        return _Contender(lambda _: _timed(lambda: encoder.encode(subject.texts).pooled), [0])  # it batches by itself

    return {name: contender(new_kernel) for name, new_kernel in kernels.items()}


def _peers(subject: Subject, threads: int, peer: SentenceTransformersEncoder | None) -> dict[str, _Contender]:
    onnx = OnnxEncoder(subject.folder, TextTokenizer(subject.artifact), threads)
    found = {"onnx": _Contender(lambda batch: _timed(lambda: onnx.encode(subject.texts, batch)), BATCHES)}
    if peer:
        found["sentence_transformers"] = _Contender(lambda batch: peer.encode(batch, threads), BATCHES)
    return found


def _timed(work: Callable[[], Vectors]) -> tuple[float, Vectors]:
    start = time.perf_counter()
    vectors = work()
    return time.perf_counter() - start, vectors


def _race(contenders: Mapping[str, _Contender], what: str, bars: Progress) -> dict[str, _Lap]:
    """Best lap of each, in interleaved rounds: a busy moment of the machine meets all of them alike.

    The first round tries every batch size, the others go on with the fastest.
    """
    tries = sum(len(contender.batches) for contender in contenders.values())
    task = bars.add_task(what, total=tries + (ROUNDS - 1) * len(contenders))
    best: dict[str, _Lap] = {}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            for batch in [best[name].batch] if name in best else contender.batches:
                seconds, vectors = contender.encode(batch)
                if name not in best or seconds < best[name].seconds:
                    best[name] = _Lap(seconds, batch, vectors)
                bars.advance(task)
    return best


def _rates(laps: Mapping[str, _Lap], tokens: int) -> dict[str, Scalar]:
    rates = {name: tokens / lap.seconds for name, lap in laps.items()}
    ratios = {
        f"ratio_{engine}_vs_{peer}": rates[engine] / rates[peer] if {engine, peer} <= rates.keys() else None
        for engine in ENGINES
        for peer in PEERS
    }
    return {
        **ratios,
        **{f"{name}_tokens_per_s": rates.get(name) for name in (*ENGINES, *PEERS)},
        **{f"{peer}_batch": laps[peer].batch if peer in laps else None for peer in PEERS},
    }


def latency(artifact: Artifact, *, quick: bool) -> dict[str, Scalar]:
    """Milliseconds from one query of 12 tokens to its vector: the default engine, one thread, warm."""
    encoder = CanonicalEncoder(artifact, threads=1)
    assert len(encoder.encode([QUERY]).ids[0]) == QUERY_TOKENS
    milliseconds = []
    for _ in range(WARM_UP + (QUICK_QUERIES if quick else QUERIES)):
        start = time.perf_counter()
        encoder.encode([QUERY])
        milliseconds.append(1e3 * (time.perf_counter() - start))
    measured = milliseconds[WARM_UP:]
    return {f"latency_12_tokens_p{q}_ms": float(np.percentile(measured, q)) for q in (50, 99)}
