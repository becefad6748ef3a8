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


class FloatEncoder:
    """A sentence encoder with mean pooling, from its published files."""

    def __init__(self, folder: Path) -> None:
        self._config = json.loads((folder / "config.json").read_text("utf-8"))
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

    def _attention(self, x: Float64, prefix: str) -> Float64:
        heads = self._config["num_attention_heads"]
        q, k, v = (
            self._dense(x, f"{prefix}.self.{part}").reshape(len(x), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[2])
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        out: Float64 = (weights @ v).transpose(1, 0, 2).reshape(len(x), -1)
        return out

    def states(self, ids: NDArray[np.int32]) -> Float64:
        """Token states of one text: float64, shape (tokens, hidden)."""
        t = self._tensors
        x = t["embeddings.word_embeddings.weight"][ids]
        x = x + t["embeddings.position_embeddings.weight"][: len(ids)] + t["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for index in range(self._config["num_hidden_layers"]):
            layer = f"encoder.layer.{index}"
            attended = self._dense(self._attention(x, f"{layer}.attention"), f"{layer}.attention.output.dense")
            x = self._norm(x + attended, f"{layer}.attention.output.LayerNorm")
            wide: Float64 = gelu(self._dense(x, f"{layer}.intermediate.dense"))
            x = self._norm(x + self._dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x

    def vector(self, ids: NDArray[np.int32]) -> Float64:
        """Mean of the token states, normalised: float64, shape (hidden,)."""
        mean: Float64 = self.states(ids).mean(axis=0)
        unit: Float64 = mean / np.sqrt((mean**2).sum())
        return unit
