"""One kernel instance: what it refuses, and that it lets other threads run."""

import dataclasses
import sys
import threading
import time

import numpy as np
import pytest

from zenso.canonical import Want, kernel_bytes, kernel_version
from zenso.canonical import engine as engine_module
from zenso.canonical.engine import MAX_ROWS, KernelInstance
from zenso.errors import IntegrityError, ModelError


@pytest.fixture
def kernel(small_artifact):
    return KernelInstance(small_artifact)


def run(kernel, artifact, ids, lengths, want=Want.POOLED, **options):
    ids = np.asarray(ids)
    lengths = np.array(lengths, np.int32)
    return kernel.run(artifact.words[ids], artifact.shifts[ids].astype(np.int32), lengths, want, **options)


def test_version_is_one():
    assert kernel_version() == 1


def test_only_what_is_wanted_is_returned(kernel, small_artifact):
    pooled = run(kernel, small_artifact, [2, 5, 3], [3])
    assert (pooled.pooled.shape, pooled.tokens.shape, pooled.slots.shape) == ((1, 64), (0, 64), (0, 0, 64))
    tokens = run(kernel, small_artifact, [2, 5, 3, 2, 3], [3, 2], Want.TOKENS)
    assert (tokens.pooled.shape, tokens.tokens.shape, tokens.slots.shape) == ((0, 64), (5, 64), (0, 0, 64))
    cells = np.full((2, 64), 4096, np.int16)
    slots = run(kernel, small_artifact, [2, 5, 3], [3], Want.DOCUMENT_SLOTS, cells=cells)
    assert (slots.pooled.shape, slots.tokens.shape, slots.slots.shape) == ((0, 64), (0, 64), (1, 2, 64))


def test_outputs_are_copies(kernel, small_artifact):
    first = run(kernel, small_artifact, [2, 5, 3], [3]).pooled
    kept = first.copy()
    run(kernel, small_artifact, [2, 9, 3], [3])
    np.testing.assert_array_equal(first, kept)


def test_token_states_are_unit_vectors(kernel, small_artifact):
    tokens = run(kernel, small_artifact, [2, 5, 6, 7, 3], [5], Want.TOKENS).tokens.astype(np.float64)
    # Rounding to 1/32767 moves a coordinate by a unit at most, the norm by less than the root of their number.
    assert np.abs(np.sqrt((tokens**2).sum(axis=1)) - 32767).max() < 8


def test_pooled_vectors_are_unit_vectors(encoder):
    pooled = encoder.encode(["one", "Two words.", "And a few more of them, then."]).pooled.astype(np.float64)
    assert np.abs(np.sqrt((pooled**2).sum(axis=1)) - 32767).max() < np.sqrt(384) / 2


@pytest.mark.parametrize(
    ("tokens", "lengths"),
    [
        (3, [0, 3]),  # an empty text
        (3, [-1, 4]),
        (41, [41]),  # more than the model's 40 positions
        (3, [2]),  # lengths that do not add up to the rows
        (3, [2, 2]),
        (3, []),
    ],
)
def test_lengths_that_cannot_be_are_refused(kernel, small_artifact, tokens, lengths):
    with pytest.raises(ModelError, match=rf"refused a batch of {len(lengths)} texts and {tokens} tokens \(status 1\)"):
        run(kernel, small_artifact, [2] * tokens, lengths)
    assert run(kernel, small_artifact, [2, 3], [2]).pooled.shape == (1, 64)


def test_a_model_that_is_not_one_is_refused(small_artifact):
    for word in (0, 1, 3, 5, 6):  # magic, version, hidden, heads, width of a head
        image = small_artifact.kernel.copy()
        image[4 * word] ^= 1
        with pytest.raises(ModelError, match="holds a model that this kernel does not run; delete it"):
            KernelInstance(dataclasses.replace(small_artifact, kernel=image))


def test_a_full_batch_of_the_longest_texts(artifact):
    kernel = KernelInstance(artifact)
    ids = np.full(MAX_ROWS, 2003)
    batch = run(kernel, artifact, ids, [256, 256])
    alone = run(kernel, artifact, ids[:256], [256])
    np.testing.assert_array_equal(batch.pooled, np.concatenate([alone.pooled, alone.pooled]))


def test_a_missing_module_is_an_integrity_error(monkeypatch, tmp_path):
    monkeypatch.setattr(engine_module, "KERNEL_PATH", tmp_path / "kernel.wasm")
    with pytest.raises(IntegrityError, match=r"cannot be read .*; reinstall zenso"):
        kernel_bytes.__wrapped__()


def test_other_threads_run_while_the_kernel_does(artifact):
    kernel = KernelInstance(artifact)
    run_kernel, advances, done = kernel._encode, [], threading.Event()
    count = 0

    def work():
        nonlocal count
        while not done.is_set():
            count += 1
            time.sleep(0)  # hands the GIL over, if anybody waits for it

    def watched(*arguments):
        before = count
        status = run_kernel(*arguments)
        advances.append(count - before)
        return status

    kernel._encode = watched
    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)  # nobody takes the GIL from a thread that does not let go of it
    worker = threading.Thread(target=work)
    try:
        worker.start()
        for _ in range(5):
            run(kernel, artifact, np.full(MAX_ROWS, 2003), [256, 256])
    finally:
        done.set()
        sys.setswitchinterval(interval)
        worker.join()
    # A call lets go of the GIL some ten times on its way in and out; hundreds of times can only be during the kernel.
    assert max(advances) > 200
