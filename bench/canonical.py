"""Canonical inference on real texts: how near it is to the float model, that its bits never change, how fast it is.

The texts are the documentation of the standard library of the running Python: every machine has them.
"""

import argparse
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3
from rich.progress import Progress

from bench import speed
from bench.accuracy import (
    AGAINST_FLOAT64,
    STSB_FILE,
    Float64,
    Model,
    Similarities,
    against_float64,
    load_model,
    read_stsb,
    stsb,
)
from bench.opcodes import count_opcodes, float_opcodes, relaxed_opcodes
from bench.peak_memory import peak_memory_mb
from bench.report import Scalar, left_out, progress
from bench.retrieval_sets import DATA
from bench.texts import Ids, choose
from zenso import models
from zenso.canonical import CanonicalEncoder, Encoded, SlotRule, Want, engine_name, kernel_digest
from zenso.canonical.kernel.compile import MODULE
from zenso.errors import InputError
from zenso.zen.slot_artifact import load_slot_artifact

NAME = "canonical"
MODEL, LARGE_MODEL = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
TEXTS, QUICK_TEXTS = 1_000, 100
LARGE_EVERY = 4  # the large model encodes every fourth text: ten times the work in float64
QUICK_PAIRS = 100
STSB = DATA / "stsb"
_AT_ONCE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument(
        "--texts", type=int, metavar="N", help=f"texts to encode ({TEXTS:,}; with --quick {QUICK_TEXTS})"
    )
    parser.add_argument(
        "--sentence-transformers",
        type=Path,
        metavar="PYTHON",
        help="interpreter of an environment that has sentence-transformers, to compare with it",
    )
    parser.add_argument("--stsb", type=Path, metavar="FOLDER", default=STSB, help=f"holds {STSB_FILE} ({STSB})")


@dataclass(frozen=True)
class _Subject:
    """What is measured, and on what."""

    model: Model
    texts: list[str]
    ids: Ids
    references: Float64


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    # The tokenizer is part of all times; it takes one thread, however many the model has.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    count = (QUICK_TEXTS if options.quick else TEXTS) if options.texts is None else options.texts
    if count < 2:
        message = f"--texts is {count}; it must be at least 2, the shortest and the longest"
        raise InputError(message)
    pairs = read_stsb(options.stsb, QUICK_PAIRS if options.quick else None)
    if pairs is None:
        left_out("STS-B", f"{options.stsb} has no {STSB_FILE}; give --stsb FOLDER")
    with progress() as bars:
        model = load_model(MODEL)
        texts, ids = choose(model.canonical.tokenizer, count)
        subject = _Subject(model, texts, ids, model.float_vectors(ids, bars, "texts"))
        results = {
            "model": MODEL,
            "engine": engine_name(),
            **_input(ids),
            **against_float64(subject.references, model.canonical.encode(texts).pooled),
            "identical": _identical(subject, bars),
            **_kernel(),
            "artifact_digest": model.canonical.artifact.digest.hex(),
            **_stsb(model, "minilm", pairs, bars),
            **_large(texts, pairs, bars, quick=options.quick),
            **_speed(subject, options.sentence_transformers, bars),
        }
    # Without bars: drawing them takes milliseconds.
    return {
        **results,
        **speed.latency(model.canonical.artifact, quick=options.quick),
        "peak_memory_mb": peak_memory_mb(MODEL, texts),
        "peak_memory_mb_wasm": peak_memory_mb(MODEL, texts, "wasm"),
    }


def _input(ids: Ids) -> dict[str, Scalar]:
    lengths = sorted(map(len, ids))
    return {
        "texts": len(lengths),
        "tokens": sum(lengths),
        "tokens_shortest": lengths[0],
        "tokens_median": lengths[len(lengths) // 2],
        "tokens_longest": lengths[-1],
    }


def _kernel() -> dict[str, Scalar]:
    opcodes = count_opcodes(MODULE)
    return {
        "float_opcodes": float_opcodes(opcodes),
        "relaxed_opcodes": relaxed_opcodes(opcodes),
        "opcodes": sum(opcodes.values()),
        "kernel_digest": kernel_digest().hex(),
    }


def _fingerprints(encoded: Encoded) -> list[bytes]:
    """Digest of everything computed for each text."""
    parts = zip(encoded.pooled, encoded.tokens, encoded.slots, strict=True)
    return [blake3(b"".join(array.tobytes() for array in part)).digest() for part in parts]


def _identical(subject: _Subject, bars: Progress) -> bool:
    """Compare the bits of every text alone, in a batch, in another order, and on two threads."""
    slot_artifact = load_slot_artifact(subject.model.name)
    rule = SlotRule(slot_artifact.basis.projection[:19], slot_artifact.token_weights)
    single, double = (CanonicalEncoder(subject.model.canonical.artifact, threads=count) for count in (1, 2))
    order = list(range(len(subject.texts)))
    random.Random(1).shuffle(order)
    task = bars.add_task("identical bits", total=4 * 2 * len(order))

    def fingerprints(encoder: CanonicalEncoder, texts: Sequence[str], slots: Want) -> list[bytes]:
        """In parts of some texts: their token states take 200 kB each at most."""
        marks: list[bytes] = []
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            marks += _fingerprints(encoder.encode(part, Want.POOLED | Want.TOKENS | slots, slots=rule))
            bars.advance(task, len(part))
        return marks

    same = True
    for slots in (Want.DOCUMENT_SLOTS, Want.QUERY_SLOTS):
        batch = fingerprints(single, subject.texts, slots)
        alone = [fingerprints(single, [text], slots)[0] for text in subject.texts]
        reordered = fingerprints(single, [subject.texts[i] for i in order], slots)
        threaded = fingerprints(double, subject.texts, slots)
        same = same and batch == alone == threaded and [batch[i] for i in order] == reordered
    return same


def _stsb(model: Model | None, name: str, pairs: Similarities | None, bars: Progress) -> dict[str, Scalar]:
    canonical, floating = stsb(model, pairs, bars) if model and pairs else (None, None)
    return {
        "stsb_pairs": len(pairs.scores) if pairs else None,
        f"stsb_spearman_{name}": canonical,
        f"stsb_spearman_{name}_float": floating,
        f"stsb_difference_{name}": None if canonical is None or floating is None else canonical - floating,
    }


def _large(texts: Sequence[str], pairs: Similarities | None, bars: Progress, *, quick: bool) -> dict[str, Scalar]:
    """Measure the accuracy of the large model, on a part of the texts."""
    if quick and models.locate(LARGE_MODEL) is None:
        left_out(LARGE_MODEL, f"--quick does not fetch it; `zenso models fetch {LARGE_MODEL}` does")
        found: dict[str, Scalar] = dict.fromkeys(("texts", "tokens", *AGAINST_FLOAT64, "artifact_digest"))
        return {f"{key}_mpnet": value for key, value in found.items()} | _stsb(None, "mpnet", pairs, bars)
    model = load_model(LARGE_MODEL)
    encoded = model.canonical.encode(texts[::LARGE_EVERY])
    found = {
        "texts": len(encoded.ids),
        "tokens": sum(map(len, encoded.ids)),
        **against_float64(model.float_vectors(encoded.ids, bars, "texts"), encoded.pooled),
        "artifact_digest": model.canonical.artifact.digest.hex(),
    }
    return {f"{key}_mpnet": value for key, value in found.items()} | _stsb(model, "mpnet", pairs, bars)


def _speed(subject: _Subject, python: Path | None, bars: Progress) -> dict[str, Scalar]:
    tokens = sum(map(len, subject.ids))
    artifact, folder = subject.model.canonical.artifact, subject.model.folder
    return speed.compare(speed.Subject(artifact, folder, subject.texts, tokens, subject.references), python, bars)
