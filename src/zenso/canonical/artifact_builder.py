"""Make the model artifact of an encoder from its float weights.

The digest of the result is the same on every machine: see ``integer_weights`` and ``tables``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.canonical.architectures import Encoder, Float64, Weights, read_encoder
from zenso.canonical.artifact import write_artifact
from zenso.canonical.integer_weights import (
    EMBEDDING_BITS,
    GAIN_BITS,
    STREAM_BITS,
    IntegerLinear,
    feed_forward_reach,
    fixed_point,
    integer_linear,
    integer_rows,
    stream_scale,
)
from zenso.canonical.tables import gelu_table
from zenso.errors import ModelError

_MODEL_MAGIC = 0x314B4E5A
_MODEL_VERSION = 1
_HEADER_WORDS = 19  # struct Model
_ALIGNMENT = 64
_LOG2_E = 1.4426950408889634
_BIAS_BITS, _BIAS_LIMIT = 24, 32.0
_POOLINGS = ("mean", "first")


@dataclass(frozen=True)
class ModelSpec:
    """What an artifact must know of a model that its weights do not say."""

    model_id: str
    pooling: Literal["mean", "first"] = "mean"
    query_prefix: str = ""  # what the model was trained to see before a query
    document_prefix: str = ""


class _KernelImage:
    """The bytes the kernel reads: tables appended at aligned offsets after the header."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = _HEADER_WORDS * 4

    def append(self, array: NDArray[Any]) -> int:
        """Add an array (little-endian); return its offset from the start of the image."""
        padding = -self.size % _ALIGNMENT
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        offset = self.size + padding
        self._parts += [bytes(padding), data]
        self.size = offset + len(data)
        return offset

    def linear(self, layer: IntegerLinear) -> list[int]:
        """Add the parts of a ``Linear``; return its words."""
        parts = (layer.weights, layer.mantissa, layer.shift, layer.bias)
        return [layer.inputs, layer.outputs, *(self.append(part) for part in parts)]

    def finish(self, header: list[int]) -> bytes:
        """Put the header before the tables."""
        assert len(header) == _HEADER_WORDS
        return b"".join((np.array(header, dtype="<i4").tobytes(), *self._parts))


def _scale(weights: Weights, model: Encoder) -> float:
    """Choose the scale of the residual stream by its outliers, which a feed-forward layer makes."""
    hidden, wide = model.hidden, model.intermediate
    reach = 0.0
    for prefix in map(model.layer_prefix, range(model.layers)):
        reach = max(
            reach,
            feed_forward_reach(
                weights.get(f"{prefix}intermediate.dense.weight", wide, hidden),
                weights.get(f"{prefix}intermediate.dense.bias", wide),
                weights.get(f"{prefix}{model.attention_norm}.weight", hidden),
                weights.get(f"{prefix}{model.attention_norm}.bias", hidden),
                weights.get(f"{prefix}output.dense.weight", hidden, wide),
            ),
        )
    return stream_scale(reach)


def _norm_words(image: _KernelImage, weights: Weights, prefix: str, hidden: int, scale: float) -> list[int]:
    gain = fixed_point(weights.get(f"{prefix}.weight", hidden) * scale, GAIN_BITS, prefix)
    bias = fixed_point(weights.get(f"{prefix}.bias", hidden) * scale, STREAM_BITS, prefix)
    return [image.append(gain), image.append(bias)]


def _layer_words(image: _KernelImage, weights: Weights, prefix: str, model: Encoder, scale: float) -> list[int]:
    """Add a layer; ``scale`` is that of the residual stream, which the layers that read it undo."""
    hidden, wide = model.hidden, model.intermediate

    def dense(name: str, outputs: int, inputs: int) -> tuple[Float64, Float64]:
        stem = prefix + name
        return weights.get(f"{stem}.weight", outputs, inputs), weights.get(f"{stem}.bias", outputs)

    def linear(name: str, weight: Float64, bias: Float64) -> list[int]:
        return image.linear(integer_linear(weight, bias, prefix + name))

    # The softmax is computed with powers of two: its constants go into the query, so that a score is an exponent.
    exponent = _LOG2_E / math.sqrt(hidden / model.heads)
    parts = [dense(name, hidden, hidden) for name in model.qkv]
    parts[0] = (parts[0][0] * exponent, parts[0][1] * exponent)
    words = linear("qkv", np.concatenate([w for w, _ in parts]) / scale, np.concatenate([b for _, b in parts]))
    weight, bias = dense(model.attention_output, hidden, hidden)
    words += linear(model.attention_output, weight * scale, bias * scale)
    weight, bias = dense("intermediate.dense", wide, hidden)
    words += linear("intermediate.dense", weight / scale, bias)
    weight, bias = dense("output.dense", hidden, wide)
    words += linear("output.dense", weight * scale, bias * scale)
    words += _norm_words(image, weights, prefix + model.attention_norm, hidden, scale)
    words += _norm_words(image, weights, prefix + "output.LayerNorm", hidden, scale)
    return words


def _bias_offset(image: _KernelImage, model: Encoder) -> int:
    """Add the bias of relative positions, as exponents of two; 0 when there is none."""
    if model.relative_bias is None:
        return 0
    bias = np.clip(model.relative_bias * _LOG2_E, -_BIAS_LIMIT, _BIAS_LIMIT)
    return image.append(fixed_point(bias, _BIAS_BITS, "relative position bias"))


def _kernel_image(weights: Weights, model: Encoder, pooling: str, on_progress: Callable[[float], None]) -> bytes:
    image = _KernelImage()
    scale = _scale(weights, model)
    position_offset = image.append(fixed_point(model.positions, EMBEDDING_BITS, "position embeddings"))
    embedding_norm = _norm_words(image, weights, "embeddings.LayerNorm", model.hidden, scale)
    table = gelu_table()
    table_offset = image.append(table)
    layer_words: list[int] = []
    for index in range(model.layers):
        layer_words += _layer_words(image, weights, model.layer_prefix(index), model, scale)
        on_progress((index + 1) / (model.layers + 1))
    layer_offset = image.append(np.array(layer_words, dtype=np.int32))
    bias_offset = _bias_offset(image, model)
    return image.finish(
        [
            _MODEL_MAGIC,
            _MODEL_VERSION,
            image.size,
            model.hidden,
            model.layers,
            model.heads,
            model.hidden // model.heads,
            model.intermediate,
            len(model.positions),
            position_offset,
            *embedding_norm,
            round(model.epsilon * (1 << 2 * EMBEDDING_BITS)),
            round(model.epsilon * scale**2 * (1 << 2 * STREAM_BITS)),
            table_offset,
            len(table) - 1,
            layer_offset,
            _POOLINGS.index(pooling),
            bias_offset,
        ]
    )


def build_artifact(
    folder: Path, output: Path, spec: ModelSpec, on_progress: Callable[[float], None] = lambda _: None
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
        The model is not an encoder that the kernel runs, or a file is damaged.
    StorageError
        The output cannot be written.
    """
    weights = Weights(folder / "model.safetensors")
    model = read_encoder(folder, weights)
    kernel = _kernel_image(weights, model, spec.pooling, on_progress)
    table = weights.get("embeddings.word_embeddings.weight", model.vocabulary, model.hidden)
    words, shifts = integer_rows(table, "word embeddings")
    try:
        tokenizer = (folder / "tokenizer.json").read_bytes()
    except OSError as error:
        message = f"cannot read {folder / 'tokenizer.json'}: {error.strerror or error}; fetch the model again"
        raise ModelError(message) from error
    header = {
        "model_id": spec.model_id,
        "hidden": model.hidden,
        "vocabulary": model.vocabulary,
        "max_tokens": len(model.positions),
        "pooling": spec.pooling,
        "query_prefix": spec.query_prefix,
        "document_prefix": spec.document_prefix,
        "weights_blake3": blake3(weights.path.read_bytes()).hexdigest(),
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
