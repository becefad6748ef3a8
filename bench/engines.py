"""The same bits on every engine and processor: digests of all results on the same real texts."""

import argparse
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from bench.engine_pairs import Case, Digests, Pair, all_pairs
from bench.report import Scalar, left_out, progress
from bench.texts import Ids, choose
from zenso import models
from zenso.canonical import SlotRule, Want, kernel_digest
from zenso.canonical.artifact import Artifact
from zenso.canonical.kernel_call import MAX_ROWS, KernelInput
from zenso.canonical.native_kernel import SELF_TEST_HASH
from zenso.canonical.tokenizer import TextTokenizer
from zenso.errors import InputError
from zenso.zen.slot_artifact import load_slot_artifact

MODEL = "all-MiniLM-L6-v2"
TEXTS, QUICK_TEXTS = 200, 10
QUERY_EVERY = 5  # a query's slots need another run through the model, which emulation makes dear
FIRST_TEXTS = 30  # the part that slow engines compute
_WORKERS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--texts", type=int, metavar="N", help=f"texts to encode ({TEXTS}; with --quick {QUICK_TEXTS})")
    parser.add_argument(
        "--first", type=int, metavar="N", default=FIRST_TEXTS, help=f"texts for wasmtime's interpreter ({FIRST_TEXTS})"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the table as Markdown")


@dataclass(frozen=True)
class _Result:
    """What a pair computed; None of both where it could not run."""

    digests: Digests | None
    seconds: float | None

    @property
    def every(self) -> str | None:
        return self.digests.every if self.digests else None

    @property
    def first(self) -> str | None:
        return self.digests.first if self.digests else None


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    count = (QUICK_TEXTS if options.quick else TEXTS) if options.texts is None else options.texts
    if count < 2:
        message = f"--texts is {count}; it must be at least 2, the shortest and the longest"
        raise InputError(message)
    if options.first < 1:
        message = f"--first is {options.first}; it must be at least 1"
        raise InputError(message)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads of ours start programs
    artifact = models.load_artifact(MODEL)
    slots = load_slot_artifact(MODEL)
    _, ids = choose(TextTokenizer(artifact), count)
    case = _case(artifact, SlotRule(slots.basis.projection[:19], slots.token_weights), ids, options.first)
    pairs = all_pairs()
    with progress() as bars:
        results = _run_all(pairs, case, bars)
    every = [result.every for result in results.values() if result.every]
    first = [result.first for result in results.values() if result.first]
    summary: dict[str, Scalar] = {
        "model": MODEL,
        "texts": count,
        "tokens": sum(map(len, ids)),
        "query_texts": len(ids[::QUERY_EVERY]),
        "first_texts": min(options.first, count),
        "pairs": len(first),
        "pairs_all_texts": len(every),
        "equal": len(set(every)) == 1 and len(set(first)) == 1,
        "self_test": f"{SELF_TEST_HASH & 0xFFFFFFFFFFFFFFFF:016x}",
        "kernel_digest": kernel_digest().hex(),
        "artifact_digest": artifact.digest.hex(),
        "version_node": _program_version("node", "--version"),
        "version_qemu": _program_version("qemu-aarch64", "--version"),
    }
    if options.write is not None:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(_document(pairs, results, summary), "utf-8")
    return {
        **summary,
        **{name: result.every for name, result in results.items()},
        **{f"{name}_first": result.first for name, result in results.items()},
        **{f"{name}_seconds": result.seconds for name, result in results.items()},
    }


def _program_version(name: str, option: str) -> str | None:
    path = shutil.which(name) or shutil.which(f"{name}-static")
    if path is None:
        return None
    printed = subprocess.run([path, option], check=False, capture_output=True, text=True).stdout
    found = re.search(r"\d+(\.\d+)+", printed)
    return found[0] if found else None


def _case(artifact: Artifact, rule: SlotRule, ids: Ids, first: int) -> Case:
    """All texts as documents, some of them as queries too; the first texts come before the others as both."""
    documents = Want.POOLED | Want.TOKENS | Want.DOCUMENT_SLOTS
    queries = ids[::QUERY_EVERY]
    first_queries = len(ids[:first:QUERY_EVERY])
    calls: list[tuple[KernelInput, Want]] = []
    ends = []
    for as_documents, as_queries in ((ids[:first], queries[:first_queries]), (ids[first:], queries[first_queries:])):
        calls += [(call, documents) for call in _calls(artifact, rule, as_documents)]
        calls += [(call, Want.QUERY_SLOTS) for call in _calls(artifact, rule, as_queries)]
        ends.append(len(calls))
    return Case(artifact, calls, ends[0])


def _calls(artifact: Artifact, rule: SlotRule, ids: Ids) -> list[KernelInput]:
    """Fill calls of the kernel with texts, in order."""
    batches: list[Ids] = []
    for item in ids:
        if not batches or sum(map(len, batches[-1])) + len(item) > MAX_ROWS:
            batches.append([])
        batches[-1].append(item)
    return [
        KernelInput(
            words=artifact.words[rows],
            shifts=artifact.shifts[rows].astype(np.int32),
            lengths=np.array([len(item) for item in batch], np.int32),
            weights=rule.token_weights[rows],
            cells=rule.cells,
        )
        for batch in batches
        for rows in [np.concatenate(batch)]
    ]


def _run_all(pairs: list[Pair], case: Case, bars: Progress) -> dict[str, _Result]:
    with tempfile.TemporaryDirectory(prefix="zenso-engines-") as folder:
        scratch = Path(folder)
        case.write(scratch / "calls.bin")

        def work(pair: Pair) -> _Result:
            reason = pair.missing()
            if reason is not None:
                left_out(pair.name, reason)
                return _Result(None, None)
            task = bars.add_task(pair.name, total=case.first if pair.slow else len(case.calls))
            start = time.perf_counter()
            digests = pair.digests(case, scratch, lambda: bars.advance(task))
            return _Result(digests, time.perf_counter() - start)

        with ThreadPoolExecutor(_WORKERS) as pool:
            futures = {pair.name: pool.submit(work, pair) for pair in pairs}
            try:
                return {name: future.result() for name, future in futures.items()}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


_PAGE = """# The same bits on every engine and processor

Written by `python -m bench engines --json FILE --write docs/engines.md`; do not edit.

{texts} docstrings of the standard library of Python {python} ({tokens:,} tokens) were encoded with {model} by each
engine and processor below; another version of Python has other docstrings, and so other digests. The digest is the
BLAKE3 of every bit that came out, as little-endian numbers: pooled vectors, the states of all tokens, the slots of each
text as a document, and query slots of every fifth ({query_texts}). Before that, each passed the kernel's self-test,
whose hash is `{self_test}`.

| engine | processor | texts | seconds | digest |
|---|---|---|---|---|
{rows}

{verdict}

Two ran at a time, so the seconds tell their order, not their speed; emulation makes up most of them.

- kernel: `{kernel_digest}`
- model artifact: `{artifact_digest}`
"""


def _document(pairs: list[Pair], results: Mapping[str, _Result], summary: Mapping[str, Scalar]) -> str:
    """Return the table as a page of the documentation."""
    rows = []
    for pair in reversed(pairs):
        result = results[pair.name]
        if result.seconds is None:
            rows.append(f"| {pair.label} | | | not run: {pair.missing()} |")
            continue
        count, digest = (
            (summary["texts"], result.every) if result.every else (f"first {summary['first_texts']}", result.first)
        )
        rows.append(f"| {pair.label} | {count} | {result.seconds:.1f} | `{digest}` |")
    verdict = f"All {summary['pairs']} digests are equal." if summary["equal"] else "**The digests differ.**"
    if summary["equal"] and summary["pairs"] != summary["pairs_all_texts"]:
        first = next(result.first for result in results.values() if result.first)
        verdict = (
            f"All {summary['pairs_all_texts']} digests of all texts are equal. An interpreter is slow, so it encodes a "
            f"part of them:\nall {summary['pairs']} pairs give that part the digest\n`{first}`."
        )
    return _PAGE.format(rows="\n".join(rows), verdict=verdict, python=platform.python_version(), **summary)
