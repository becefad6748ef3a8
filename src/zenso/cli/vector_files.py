"""Vectors and codes in `.npy` files: read with errors that name the file, written in one step."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zenso.atomic_file import replacing
from zenso.canonical import normalise, quantise
from zenso.errors import InputError, StorageError


def read_array(path: Path) -> NDArray[Any]:
    """Read a two-dimensional array with at least one row.

    Raises
    ------
    InputError
        The file cannot be read, or holds something else.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{path} cannot be read as a .npy file ({reason})") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{path} holds several arrays; give a .npy file of one")
    if array.ndim != 2 or not array.size:
        raise InputError(
            f"{path} holds an array of shape {array.shape}; it must be (rows, numbers), at least 1 of each"
        )
    return array


def read_vectors(path: Path) -> NDArray[np.int16]:
    """Read vectors: 16-bit integers as they are; floats as directions, normalised and rounded to scale 32767.

    Raises
    ------
    InputError
        The file cannot be read, holds something else, or a number that is not finite.
    """
    array = read_array(path)
    if array.dtype.kind == "i" and array.dtype.itemsize == 2:
        return np.ascontiguousarray(array, np.int16)
    if array.dtype.kind != "f":
        raise InputError(f"{path} holds {array.dtype}; vectors are floats or int16")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is named below
        single = array.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(single).all(axis=1))
    if len(wrong):
        raise InputError(
            f"{path}: row {wrong[0]} holds NaN, infinity or a number too large for float32"
            f"{f', as {len(wrong) - 1} other rows do' if len(wrong) > 1 else ''}; leave such rows out"
        )
    return quantise(normalise(single))


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a `.npy` file, little-endian.

    Raises
    ------
    StorageError
        The file cannot be written.
    """
    try:
        with replacing(path) as file:
            np.save(file, array.astype(array.dtype.newbyteorder("<")), allow_pickle=False)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}); free space, or choose another place"
        ) from error
