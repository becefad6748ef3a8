"""The published files of a small random encoder: a model that is built within milliseconds."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from zenso.canonical import Artifact, ModelSpec, build_artifact, open_artifact

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "##a", "##b", ",", "!"]

_BERT_DENSE = (*(f"attention.self.{part}" for part in ("query", "key", "value")), "attention.output.dense")
DENSE = {"bert": _BERT_DENSE, "xlm-roberta": _BERT_DENSE, "mpnet": tuple(f"attention.attn.{part}" for part in "qkvo")}
_BERT_NORM = "attention.output.LayerNorm"
NORM = {"bert": _BERT_NORM, "xlm-roberta": _BERT_NORM, "mpnet": "attention.LayerNorm"}


def tokenizer_json() -> str:
    """Return a WordPiece tokenizer of single letters, in the format of ``tokenizer.json``."""
    special = [
        {
            "id": WORDS.index(word),
            "content": word,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    ]
    frame = {name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    single = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": True,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": single,
                "pair": single,
                "special_tokens": frame,
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {word: index for index, word in enumerate(WORDS)},
            },
        }
    )


class SmallModel:
    """The published files of a random encoder; a caller may change a part before it writes them."""

    def __init__(
        self,
        seed: int = 0,
        *,
        kind: str = "bert",
        hidden: int = 64,
        heads: int = 4,
        layers: int = 2,
        wide: int = 128,
        positions: int = 40,
        spread: float = 0.15,
    ) -> None:
        self.config: dict[str, Any] = {
            "model_type": kind,
            "pad_token_id": 1,
            "relative_attention_num_buckets": 32,
            "hidden_act": "gelu",
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": wide,
            "max_position_embeddings": positions,
            "type_vocab_size": 2,
            "vocab_size": len(WORDS),
            "layer_norm_eps": 1e-12,
        }
        self._random = np.random.default_rng(seed)
        self._spread = spread
        self.tensors: dict[str, NDArray[np.float32]] = {}
        for name, rows in (("word", len(WORDS)), ("position", positions), ("token_type", 2)):
            self.tensors[f"embeddings.{name}_embeddings.weight"] = self._normal(rows, hidden)
        if kind == "mpnet":
            self.tensors["encoder.relative_attention_bias.weight"] = 10 * self._normal(32, heads)
        self._norm("embeddings.LayerNorm", hidden)
        for index in range(layers):
            stem = f"encoder.layer.{index}."
            for name in DENSE[kind]:
                self._dense(f"{stem}{name}", hidden, hidden)
            self._dense(f"{stem}intermediate.dense", wide, hidden)
            self._dense(f"{stem}output.dense", hidden, wide)
            self._norm(f"{stem}{NORM[kind]}", hidden)
            self._norm(f"{stem}output.LayerNorm", hidden)

    def _normal(self, *shape: int) -> NDArray[np.float32]:
        return self._random.normal(0, self._spread, shape).astype(np.float32)

    def _dense(self, stem: str, outputs: int, inputs: int) -> None:
        self.tensors[f"{stem}.weight"] = self._normal(outputs, inputs)
        self.tensors[f"{stem}.bias"] = self._normal(outputs)

    def _norm(self, stem: str, width: int) -> None:
        self.tensors[f"{stem}.weight"] = 1 + self._normal(width)
        self.tensors[f"{stem}.bias"] = self._normal(width)

    def write(self, folder: Path) -> Path:
        """Write config.json, tokenizer.json and model.safetensors; return the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        (folder / "tokenizer.json").write_text(tokenizer_json())
        save_file(self.tensors, folder / "model.safetensors")
        return folder

    def open(self, folder: Path, pooling: Literal["mean", "first"] = "mean") -> Artifact:
        """Write the files, build the artifact beside them and open it."""
        build_artifact(self.write(folder), folder / "model.zenso", ModelSpec("small/random", pooling))
        return open_artifact(folder / "model.zenso")
