"""The forward pass of a BERT encoder in float64, written for clarity: what canonical inference is measured against."""

import json
import math
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Float64 = NDArray[np.float64]


@numba.vectorize(["float64(float64)"], cache=True)
def gelu(x: float) -> float:
    """GELU by the error function."""
    return 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))


# Tensors below a layer: query, key, value and output of attention, and the norm after it.
_BERT = [f"attention.{part}" for part in ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")]
_MPNET = [f"attention.{part}" for part in ("attn.q", "attn.k", "attn.v", "attn.o", "LayerNorm")]


def published_bucket(distance: int) -> int:
    """Bucket of relative positions in MPNet, of 32, as its authors' code computes it."""
    n = abs(distance)
    bucket = n if n < 8 else min(15, 8 + int(math.log(n / 8) / math.log(128 / 8) * 8))
    return bucket + (16 if distance > 0 else 0)


class FloatEncoder:
    """A sentence encoder (BERT, XLM-RoBERTa or MPNet) from its published files.

    Parameters
    ----------
    pooling : str
        ``mean`` of the token states, or the ``first``.
    """

    def __init__(self, folder: Path, pooling: str = "mean") -> None:
        self._config = json.loads((folder / "config.json").read_text("utf-8"))
        self._pooling = pooling
        self._mpnet = self._config["model_type"] == "mpnet"
        self._parts = _MPNET if self._mpnet else _BERT
        tensors = load_file(folder / "model.safetensors")
        self._tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def _dense(self, x: Float64, name: str) -> Float64:
        out: Float64 = x @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]
        return out

    def _norm(self, x: Float64, name: str) -> Float64:
        centred = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + self._config["layer_norm_eps"])
        out: Float64 = centred / deviation * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]
        return out

    def _bias(self, tokens: int) -> Float64 | float:
        """Return what MPNet adds to the scores: float64, shape (heads, queries, keys)."""
        if not self._mpnet:
            return 0.0
        buckets = [[published_bucket(key - query) for key in range(tokens)] for query in range(tokens)]
        bias: Float64 = self._tensors["encoder.relative_attention_bias.weight"][buckets].transpose(2, 0, 1)
        return bias

    def _attention(self, x: Float64, layer: str) -> Float64:
        heads = self._config["num_attention_heads"]
        q, k, v = (
            self._dense(x, f"{layer}.{part}").reshape(len(x), heads, -1).transpose(1, 0, 2) for part in self._parts[:3]
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[2]) + self._bias(len(x))
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        out: Float64 = (weights @ v).transpose(1, 0, 2).reshape(len(x), -1)
        return out

    def states(self, ids: NDArray[np.int32]) -> Float64:
        """Token states of one text: float64, shape (tokens, hidden)."""
        t = self._tensors
        first = 0 if self._config["model_type"] == "bert" else self._config["pad_token_id"] + 1
        x = t["embeddings.word_embeddings.weight"][ids]
        x = x + t["embeddings.position_embeddings.weight"][first : first + len(ids)]
        if not self._mpnet:
            x = x + t["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for index in range(self._config["num_hidden_layers"]):
            layer = f"encoder.layer.{index}"
            attended = self._dense(self._attention(x, layer), f"{layer}.{self._parts[3]}")
            x = self._norm(x + attended, f"{layer}.{self._parts[4]}")
            wide: Float64 = gelu(self._dense(x, f"{layer}.intermediate.dense"))
            x = self._norm(x + self._dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x

    def vector(self, ids: NDArray[np.int32]) -> Float64:
        """Pool the token states and normalise: float64, shape (hidden,)."""
        states = self.states(ids)
        mean: Float64 = states[0] if self._pooling == "first" else states.mean(axis=0)
        unit: Float64 = mean / np.sqrt((mean**2).sum())
        return unit
