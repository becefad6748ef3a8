"""Make the model artifact of a BERT encoder from its float weights.

The digest of the result is the same on every machine: see ``integer_weights`` and ``tables``.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from zenso.canonical.artifact import write_artifact
from zenso.canonical.integer_weights import (
    EMBEDDING_BITS,
    GAIN_BITS,
    STREAM_BITS,
    Float64,
    IntegerLinear,
    fixed_point,
    integer_linear,
    integer_rows,
)
from zenso.canonical.tables import gelu_table
from zenso.errors import ModelError

MAX_TOKENS = 256
_MODEL_MAGIC = 0x314B4E5A
_MODEL_VERSION = 1
_HEADER_WORDS = 17  # struct Model
_LAYER_WORDS = 4 * 6 + 2 * 2  # struct Layer
_ALIGNMENT = 64
_LOG2_E = 1.4426950408889634
_NUMBERS = (  # of the configuration, that the kernel's image depends on
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
    "vocab_size",
)


class _KernelImage:
    """The bytes the kernel reads: tables appended at aligned offsets after the header."""

    def __init__(self, header_words: int) -> None:
        self._parts: list[bytes] = []
        self._size = header_words * 4
        self._start = self._size

    def append(self, array: NDArray[Any]) -> int:
        """Add an array (little-endian); return its offset from the start of the image."""
        padding = -self._size % _ALIGNMENT
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        offset = self._size + padding
        self._parts += [bytes(padding), data]
        self._size = offset + len(data)
        return offset

    @property
    def size(self) -> int:
        return self._size

    def finish(self, header: list[int]) -> bytes:
        head = np.array(header, dtype="<i4").tobytes()
        if len(head) != self._start:
            message = "the header does not match struct Model"
            raise AssertionError(message)
        return b"".join((head, *self._parts))


class _Weights:
    """Tensors of a safetensors file by name, as float64; a missing or misshapen one is a clear error."""

    def __init__(self, path: Path) -> None:
        try:
            with safe_open(path, framework="numpy") as file:
                self._tensors: dict[str, NDArray[Any]] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, TypeError) as error:
            message = f"cannot read the weights {path}: {error}; fetch the model again"
            raise ModelError(message) from error
        self._path = path

    def get(self, name: str, *shape: int) -> Float64:
        tensor = self._tensors.get(name)
        if tensor is None:
            message = f"{self._path} has no tensor {name!r}; it is not a BERT encoder of the expected kind"
            raise ModelError(message)
        if tensor.shape != shape:
            message = f"{self._path}: tensor {name!r} has shape {tensor.shape}, the configuration asks for {shape}"
            raise ModelError(message)
        return tensor.astype(np.float64)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = dict(json.loads((folder / "config.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        message = f"cannot read {folder / 'config.json'}: {error}; fetch the model again"
        raise ModelError(message) from error
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in expected.items():
        if config.get(key, value) != value:
            message = f"{folder / 'config.json'} says {key} = {config[key]!r}; the kernel runs {value!r}"
            raise ModelError(message)
    for key in _NUMBERS:
        if not isinstance(config.get(key), int | float):
            message = f"{folder / 'config.json'} says {key} = {config.get(key)!r}, not a number; fetch the model again"
            raise ModelError(message)
    return config


def _linear_words(image: _KernelImage, layer: IntegerLinear) -> list[int]:
    return [
        layer.inputs,
        layer.outputs,
        image.append(layer.weights),
        image.append(layer.mantissa),
        image.append(layer.shift),
        image.append(layer.bias),
    ]


def _norm_words(image: _KernelImage, weights: _Weights, prefix: str, hidden: int) -> list[int]:
    gain = fixed_point(weights.get(f"{prefix}.weight", hidden), GAIN_BITS, prefix)
    bias = fixed_point(weights.get(f"{prefix}.bias", hidden), STREAM_BITS, prefix)
    return [image.append(gain), image.append(bias)]


def _layer_words(image: _KernelImage, weights: _Weights, index: int, config: dict[str, Any]) -> list[int]:
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    prefix = f"encoder.layer.{index}."

    def dense(name: str, outputs: int, inputs: int) -> tuple[Float64, Float64]:
        stem = prefix + name
        return weights.get(f"{stem}.weight", outputs, inputs), weights.get(f"{stem}.bias", outputs)

    # The softmax is computed with powers of two: its constants go into the query, so that a score is an exponent.
    exponent = _LOG2_E / math.sqrt(hidden / config["num_attention_heads"])
    parts = [dense(f"attention.self.{name}", hidden, hidden) for name in ("query", "key", "value")]
    parts[0] = (parts[0][0] * exponent, parts[0][1] * exponent)
    qkv = integer_linear(np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts]), prefix + "qkv")
    words = _linear_words(image, qkv)
    for name, outputs, inputs in (
        ("attention.output.dense", hidden, hidden),
        ("intermediate.dense", wide, hidden),
        ("output.dense", hidden, wide),
    ):
        words += _linear_words(image, integer_linear(*dense(name, outputs, inputs), prefix + name))
    words += _norm_words(image, weights, prefix + "attention.output.LayerNorm", hidden)
    words += _norm_words(image, weights, prefix + "output.LayerNorm", hidden)
    return words


def _kernel_image(weights: _Weights, config: dict[str, Any], on_progress: Callable[[float], None]) -> bytes:
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    epsilon = float(config["layer_norm_eps"])
    image = _KernelImage(_HEADER_WORDS)
    positions = weights.get("embeddings.position_embeddings.weight", config["max_position_embeddings"], hidden)
    kinds = weights.get("embeddings.token_type_embeddings.weight", config["type_vocab_size"], hidden)
    position_table = fixed_point(positions[:MAX_TOKENS] + kinds[0], EMBEDDING_BITS, "position embeddings")
    position_offset = image.append(position_table)
    embedding_norm = _norm_words(image, weights, "embeddings.LayerNorm", hidden)
    table = gelu_table()
    table_offset = image.append(table)
    layer_words: list[int] = []
    for index in range(layers):
        layer_words += _layer_words(image, weights, index, config)
        on_progress((index + 1) / (layers + 1))
    layer_offset = image.append(np.array(layer_words, dtype=np.int32))
    return image.finish(
        [
            _MODEL_MAGIC,
            _MODEL_VERSION,
            image.size,
            hidden,
            layers,
            config["num_attention_heads"],
            hidden // config["num_attention_heads"],
            config["intermediate_size"],
            len(position_table),
            position_offset,
            *embedding_norm,
            round(epsilon * (1 << 2 * EMBEDDING_BITS)),
            round(epsilon * (1 << 2 * STREAM_BITS)),
            table_offset,
            len(table) - 1,
            layer_offset,
        ]
    )


def build_artifact(
    folder: Path, output: Path, model_id: str, on_progress: Callable[[float], None] = lambda _: None
) -> bytes:
    """Build the artifact of the model in ``folder`` (config.json, model.safetensors, tokenizer.json).

    Parameters
    ----------
    on_progress : callable
        Called with the share done, 0 to 1.

    Returns
    -------
    bytes
        BLAKE3 digest of the artifact.

    Raises
    ------
    ModelError
        The model is not a BERT encoder that the kernel runs, or a file is damaged.
    StorageError
        The output cannot be written.
    """
    config = _read_config(folder)
    weights = _Weights(folder / "model.safetensors")
    kernel = _kernel_image(weights, config, on_progress)
    words, shifts = integer_rows(
        weights.get("embeddings.word_embeddings.weight", config["vocab_size"], config["hidden_size"]), "word embeddings"
    )
    try:
        tokenizer = (folder / "tokenizer.json").read_bytes()
    except OSError as error:
        message = f"cannot read {folder / 'tokenizer.json'}: {error}; fetch the model again"
        raise ModelError(message) from error
    header = {
        "model_id": model_id,
        "hidden": config["hidden_size"],
        "vocabulary": config["vocab_size"],
        "max_tokens": min(MAX_TOKENS, config["max_position_embeddings"]),
        "pooling": "mean",
        "weights_blake3": blake3((folder / "model.safetensors").read_bytes()).hexdigest(),
        "tokenizer_blake3": blake3(tokenizer).hexdigest(),
    }
    sections = {
        "kernel": kernel,
        "words": words.astype("<i2", copy=False).tobytes(),
        "shifts": shifts.tobytes(),
        "tokenizer": tokenizer,
    }
    digest = write_artifact(output, header, sections)
    on_progress(1.0)
    return digest
