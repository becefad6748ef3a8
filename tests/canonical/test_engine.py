"""One kernel instance: what it refuses, and that it lets other threads run."""

import dataclasses
import sys
import threading
import time

import numpy as np
import pytest

from zenso.canonical import Want, kernel_bytes, kernel_version, wasm_kernel
from zenso.canonical.kernel_call import MAX_ROWS, KernelInput
from zenso.canonical.native_kernel import NativeKernel, best_twin
from zenso.canonical.wasm_kernel import WasmKernel
from zenso.errors import IntegrityError, ModelError


def native(artifact):
    return NativeKernel(artifact, best_twin())


@pytest.fixture(params=[WasmKernel, native], ids=["wasm", "native"])
def make_kernel(request):
    return request.param


@pytest.fixture
def kernel(make_kernel, small_artifact):
    return make_kernel(small_artifact)


def run(kernel, artifact, ids, lengths, want=Want.POOLED, cells=None):
    ids = np.asarray(ids)
    call = KernelInput(
        words=artifact.words[ids],
        shifts=artifact.shifts[ids].astype(np.int32),
        lengths=np.array(lengths, np.int32),
        weights=np.ones(len(ids), np.int32),
        cells=np.empty((0, artifact.hidden), np.int16) if cells is None else cells,
    )
    return kernel.run(call, want)


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


def test_a_model_that_is_not_one_is_refused(make_kernel, small_artifact):
    for word in (0, 1, 3, 5, 6):  # magic, version, hidden, heads, width of a head
        image = small_artifact.kernel.copy()
        image[4 * word] ^= 1
        with pytest.raises(ModelError, match="holds a model that this kernel does not run; delete it"):
            make_kernel(dataclasses.replace(small_artifact, kernel=image))


def test_a_full_batch_of_the_longest_texts(make_kernel, artifact):
    kernel = make_kernel(artifact)
    ids = np.full(MAX_ROWS, 2003)
    batch = run(kernel, artifact, ids, [256, 256])
    alone = run(kernel, artifact, ids[:256], [256])
    np.testing.assert_array_equal(batch.pooled, np.concatenate([alone.pooled, alone.pooled]))


def test_a_missing_module_is_an_integrity_error(monkeypatch, tmp_path):
    monkeypatch.setattr(wasm_kernel, "MODULE_PATH", tmp_path / "kernel.wasm")
    with pytest.raises(IntegrityError, match=r"cannot be read .*; reinstall zenso"):
        kernel_bytes.__wrapped__()


def test_other_threads_run_while_the_kernel_does(artifact):
    kernel = WasmKernel(artifact)
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
