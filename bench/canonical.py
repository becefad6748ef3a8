"""Canonical inference on real texts: how near it is to float64, that its bits never change, and how fast it is.

The texts are the documentation of the standard library of the running Python: every machine has them.
"""

import argparse
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from rich.progress import Progress

from bench.float_reference import FloatEncoder
from bench.onnx_peer import OnnxEncoder
from bench.opcodes import count_opcodes, float_opcodes, relaxed_opcodes
from bench.report import Scalar, progress
from bench.texts import Ids, choose
from zenso import models
from zenso.canonical import CanonicalEncoder, Encoded, SlotRule, Want, kernel_digest
from zenso.canonical.kernel.compile import MODULE
from zenso.errors import InputError
from zenso.zen.slot_artifact import load_slot_artifact

NAME = "canonical"
MODEL = "all-MiniLM-L6-v2"
TEXTS, QUICK_TEXTS = 1_000, 100
ONNX_BATCHES = (1, 8, 32)  # texts; 1 is each alone, without padding
ROUNDS = 3
_AT_ONCE = 64

Float64 = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument(
        "--texts", type=int, metavar="N", help=f"texts to encode ({TEXTS:,}; with --quick {QUICK_TEXTS})"
    )


@dataclass(frozen=True)
class _Subject:
    """What is measured, and on what."""

    single: CanonicalEncoder
    double: CanonicalEncoder
    rule: SlotRule
    folder: Path  # the model's published files
    texts: list[str]
    ids: Ids


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    # The tokenizer is part of both times; it must not take more threads than the model.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    count = (QUICK_TEXTS if options.quick else TEXTS) if options.texts is None else options.texts
    if count < 2:
        message = f"--texts is {count}; it must be at least 2, the shortest and the longest"
        raise InputError(message)
    with progress() as bars:
        subject = _subject(count)
        references = _references(subject, bars)
        opcodes = count_opcodes(MODULE)
        return {
            "model": MODEL,
            **_input(subject),
            **_against_float64(subject, references),
            "identical": _identical(subject, bars),
            "float_opcodes": float_opcodes(opcodes),
            "relaxed_opcodes": relaxed_opcodes(opcodes),
            "opcodes": sum(opcodes.values()),
            "kernel_digest": kernel_digest().hex(),
            "artifact_digest": subject.single.artifact.digest.hex(),
            **_speed(subject, references, bars),
        }


def _subject(count: int) -> _Subject:
    artifact = models.load_artifact(MODEL)
    slots = load_slot_artifact(MODEL)
    single = CanonicalEncoder(artifact, threads=1)
    texts, ids = choose(single.tokenizer, count)
    return _Subject(
        single=single,
        double=CanonicalEncoder(artifact, threads=2),
        rule=SlotRule(slots.projection[:19], slots.token_weights),
        folder=models.fetch(models.lookup(MODEL)),
        texts=texts,
        ids=ids,
    )


def _input(subject: _Subject) -> dict[str, Scalar]:
    lengths = sorted(len(ids) for ids in subject.ids)
    return {
        "texts": len(lengths),
        "tokens": sum(lengths),
        "tokens_shortest": lengths[0],
        "tokens_median": lengths[len(lengths) // 2],
        "tokens_longest": lengths[-1],
    }


def _references(subject: _Subject, bars: Progress) -> Float64:
    reference = FloatEncoder(subject.folder)
    return np.stack([reference.vector(ids) for ids in bars.track(subject.ids, description="float64 reference")])


def _against_float64(subject: _Subject, references: Float64) -> dict[str, Scalar]:
    pooled = subject.single.encode(subject.texts).pooled
    cosines = _cosines(references, pooled)
    return {
        "min_cosine_vs_float64": float(cosines.min()),
        "mean_cosine_vs_float64": float(cosines.mean()),
        "max_difference_units": float(np.abs(pooled - 32767 * references).max()),
    }


def _cosines(references: Float64, vectors: NDArray[np.int16] | NDArray[np.float32]) -> Float64:
    """Cosine of each unit vector of the reference with another vector, computed in float64."""
    wide = vectors.astype(np.float64)
    cosines: Float64 = (references * wide).sum(axis=1) / np.sqrt((wide**2).sum(axis=1))
    return cosines


def _fingerprints(encoded: Encoded) -> list[bytes]:
    """Digest of everything computed for each text."""
    parts = zip(encoded.pooled, encoded.tokens, encoded.slots, strict=True)
    return [blake3(b"".join(array.tobytes() for array in part)).digest() for part in parts]


def _identical(subject: _Subject, bars: Progress) -> bool:
    """Compare the bits of every text alone, in a batch, in another order, and on two threads."""
    order = list(range(len(subject.texts)))
    random.Random(1).shuffle(order)
    task = bars.add_task("identical bits", total=4 * 2 * len(order))

    def fingerprints(encoder: CanonicalEncoder, texts: Sequence[str], slots: Want) -> list[bytes]:
        """In parts of some texts: their token states take 200 kB each at most."""
        marks: list[bytes] = []
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            marks += _fingerprints(encoder.encode(part, Want.POOLED | Want.TOKENS | slots, slots=subject.rule))
            bars.advance(task, len(part))
        return marks

    same = True
    for slots in (Want.DOCUMENT_SLOTS, Want.QUERY_SLOTS):
        batch = fingerprints(subject.single, subject.texts, slots)
        alone = [fingerprints(subject.single, [text], slots)[0] for text in subject.texts]
        reordered = fingerprints(subject.single, [subject.texts[i] for i in order], slots)
        threaded = fingerprints(subject.double, subject.texts, slots)
        same = same and batch == alone == threaded and [batch[i] for i in order] == reordered
    return same


def _speed(subject: _Subject, references: Float64, bars: Progress) -> dict[str, Scalar]:
    """Tokens a second from text to pooled vector, one thread each."""
    peer = OnnxEncoder(subject.folder, subject.single.tokenizer)
    contenders: dict[str, Callable[[], object]] = {"zenso": partial(subject.single.encode, subject.texts)}
    contenders |= {str(size): partial(peer.encode, subject.texts, size) for size in ONNX_BATCHES}
    tokens = sum(len(ids) for ids in subject.ids)
    rates = {name: tokens / seconds for name, seconds in _best_times(contenders, bars).items()}
    ours = rates.pop("zenso")
    fastest = max(rates, key=lambda name: rates[name])
    return {
        "tokens_per_s": ours,
        "onnx_tokens_per_s": rates[fastest],
        "ratio": ours / rates[fastest],
        "onnx_batch": int(fastest),
        **{f"onnx_tokens_per_s_batch_{name}": rate for name, rate in rates.items()},
        "onnx_min_cosine_vs_float64": float(_cosines(references, peer.encode(subject.texts, int(fastest))).min()),
    }


def _best_times(contenders: Mapping[str, Callable[[], object]], bars: Progress) -> dict[str, float]:
    """Seconds of each, the best of interleaved rounds: a busy moment of the machine meets all of them alike."""
    task = bars.add_task("speed", total=ROUNDS * len(contenders))
    best = dict.fromkeys(contenders, math.inf)
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - start)
            bars.advance(task)
    return best
