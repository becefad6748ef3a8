"""Where each supported architecture keeps what the kernel needs: names of tensors, offsets, biases.

BERT (MiniLM, BGE-small, E5-small), XLM-RoBERTa (BGE-M3) and MPNet are the same encoder to the kernel. They differ in
how their files name the parts, where positions begin, and whether attention has a bias for relative positions.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from zenso.errors import ModelError

Float64 = NDArray[np.float64]

MAX_TOKENS = 256
_MPNET_EXACT, _MPNET_BUCKETS = 8, 16  # half of its 32 buckets for each direction


class Weights:
    """Tensors of a safetensors file by name, as float64; a missing or misshapen one is a clear error."""

    def __init__(self, path: Path) -> None:
        try:
            with safe_open(path, framework="numpy") as file:
                self._tensors: dict[str, NDArray[Any]] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, TypeError) as error:
            message = f"cannot read the weights {path}: {error}; fetch the model again"
            raise ModelError(message) from error
        self.path = path

    def get(self, name: str, *shape: int) -> Float64:
        """Return a tensor of the expected shape.

        Raises
        ------
        ModelError
            There is none of that name, or it has another shape.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            message = f"{self.path} has no tensor {name!r}; it is not an encoder of the expected kind"
            raise ModelError(message)
        if tensor.shape != shape:
            message = f"{self.path}: tensor {name!r} has shape {tensor.shape}, the configuration asks for {shape}"
            raise ModelError(message)
        return tensor.astype(np.float64)


@dataclass(frozen=True)
class Encoder:
    """An encoder as the kernel sees it."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    epsilon: float
    positions: Float64  # (tokens, hidden): what is added to the word embedding, token type included
    layer: str  # prefix of a layer's tensors, with {index}
    qkv: tuple[str, str, str]  # names below the layer
    attention_output: str
    attention_norm: str
    relative_bias: Float64 | None  # (heads, 2 * tokens - 1): entry tokens - 1 + (key - query)

    def layer_prefix(self, index: int) -> str:
        """Return what the names of a layer's tensors begin with."""
        return self.layer.format(index=index)


def read_encoder(folder: Path, weights: Weights) -> Encoder:
    """Read ``config.json`` and find the parts of the encoder.

    Raises
    ------
    ModelError
        The file cannot be read, or the model is of a kind that the kernel does not run.
    """
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
        kind = str(config["model_type"])
        known = _ARCHITECTURES.get(kind)
        if known is None:
            message = f"{path} says model_type = {kind!r}; the kernel runs {', '.join(sorted(_ARCHITECTURES))}"
            raise ModelError(message)
        for key, expected in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
            if config.get(key, expected) != expected:
                message = f"{path} says {key} = {config[key]!r}; the kernel runs {expected!r}"
                raise ModelError(message)
        return known(config, weights)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        message = f"cannot read {path}: {error!r}; fetch the model again"
        raise ModelError(message) from error


def _bert(config: dict[str, Any], weights: Weights, offset: int = 0) -> Encoder:
    hidden, rows = int(config["hidden_size"]), int(config["max_position_embeddings"])
    positions = weights.get("embeddings.position_embeddings.weight", rows, hidden)[offset : offset + MAX_TOKENS]
    kinds = weights.get("embeddings.token_type_embeddings.weight", int(config["type_vocab_size"]), hidden)
    return Encoder(
        hidden=hidden,
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        intermediate=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        epsilon=float(config["layer_norm_eps"]),
        positions=positions + kinds[0],
        layer="encoder.layer.{index}.",
        qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
        attention_output="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        relative_bias=None,
    )


def _xlm_roberta(config: dict[str, Any], weights: Weights) -> Encoder:
    return _bert(config, weights, offset=int(config["pad_token_id"]) + 1)


def _mpnet(config: dict[str, Any], weights: Weights) -> Encoder:
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    offset, rows = int(config["pad_token_id"]) + 1, int(config["max_position_embeddings"])
    positions = weights.get("embeddings.position_embeddings.weight", rows, hidden)[offset : offset + MAX_TOKENS]
    if int(config["relative_attention_num_buckets"]) != 2 * _MPNET_BUCKETS:
        message = f"{weights.path} has {config['relative_attention_num_buckets']} buckets of relative positions, not 32"
        raise ModelError(message)
    table = weights.get("encoder.relative_attention_bias.weight", 2 * _MPNET_BUCKETS, heads)
    distances = range(1 - len(positions), len(positions))
    return Encoder(
        hidden=hidden,
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        intermediate=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        epsilon=float(config["layer_norm_eps"]),
        positions=positions,
        layer="encoder.layer.{index}.",
        qkv=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        relative_bias=table[[mpnet_bucket(distance) for distance in distances]].T,
    )


def mpnet_bucket(distance: int) -> int:
    """Bucket of a key ``distance`` places after the query, of 32 (as in T5, for both directions, up to 128 places).

    The published code takes 8 + 8 * log(n / 8) / log(16), cut to an integer; that is 2 + the bit length of n^2 less 1,
    which needs no logarithm.
    """
    n = abs(distance)
    bucket = n if n < _MPNET_EXACT else min(_MPNET_BUCKETS - 1, 2 + (n * n).bit_length() - 1)
    return bucket + (_MPNET_BUCKETS if distance > 0 else 0)


_ARCHITECTURES: dict[str, Callable[[dict[str, Any], Weights], Encoder]] = {
    "bert": _bert,
    "mpnet": _mpnet,
    "xlm-roberta": _xlm_roberta,
}
