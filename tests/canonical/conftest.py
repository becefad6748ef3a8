"""The real model, and small random ones that tests build within milliseconds."""

import json

import numpy as np
import pytest
from hypothesis import settings
from safetensors.numpy import save_file

from zenso.canonical import CanonicalEncoder, ModelSpec, SlotRule, build_artifact, open_artifact
from zenso.models import load_artifact
from zenso.zen.slot_artifact import load_slot_artifact

MODEL = "all-MiniLM-L6-v2"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "##a", "##b", ",", "!"]

BERT_PARTS = {
    "dense": [*(f"attention.self.{part}" for part in ("query", "key", "value")), "attention.output.dense"],
    "norm": "attention.output.LayerNorm",
}
PARTS = {
    "bert": BERT_PARTS,
    "xlm-roberta": BERT_PARTS,
    "mpnet": {"dense": [f"attention.attn.{part}" for part in "qkvo"], "norm": "attention.LayerNorm"},
}

settings.register_profile("zenso", deadline=None)  # a busy machine is not a bug
settings.load_profile("zenso")


@pytest.fixture(scope="session")
def artifact():
    return load_artifact(MODEL)


@pytest.fixture(scope="session")
def encoder(artifact):
    return CanonicalEncoder(artifact, threads=1)


@pytest.fixture(scope="session")
def threaded_encoder(artifact):
    return CanonicalEncoder(artifact, threads=2)


@pytest.fixture(scope="session")
def slot_rule():
    slots = load_slot_artifact(MODEL)
    return SlotRule(slots.cells, slots.token_weights)


def tokenizer_json():
    """A WordPiece tokenizer of single letters, in the format of ``tokenizer.json``."""
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
    """The published files of a random encoder; tests change a part before they write it."""

    def __init__(self, seed=0, *, kind="bert", hidden=64, heads=4, layers=2, wide=128, positions=40, spread=0.15):
        self.config = {
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
        self.tensors = {}
        for name, rows in (("word", len(WORDS)), ("position", positions), ("token_type", 2)):
            self.tensors[f"embeddings.{name}_embeddings.weight"] = self._normal(rows, hidden)
        if kind == "mpnet":
            self.tensors["encoder.relative_attention_bias.weight"] = 10 * self._normal(32, heads)
        self._norm("embeddings.LayerNorm", hidden)
        for index in range(layers):
            stem = f"encoder.layer.{index}."
            for name in PARTS[kind]["dense"]:
                self._dense(f"{stem}{name}", hidden, hidden)
            self._dense(f"{stem}intermediate.dense", wide, hidden)
            self._dense(f"{stem}output.dense", hidden, wide)
            self._norm(f"{stem}{PARTS[kind]['norm']}", hidden)
            self._norm(f"{stem}output.LayerNorm", hidden)

    def _normal(self, *shape):
        return self._random.normal(0, self._spread, shape).astype(np.float32)

    def _dense(self, stem, outputs, inputs):
        self.tensors[f"{stem}.weight"] = self._normal(outputs, inputs)
        self.tensors[f"{stem}.bias"] = self._normal(outputs)

    def _norm(self, stem, width):
        self.tensors[f"{stem}.weight"] = 1 + self._normal(width)
        self.tensors[f"{stem}.bias"] = self._normal(width)

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        (folder / "tokenizer.json").write_text(tokenizer_json())
        save_file(self.tensors, folder / "model.safetensors")
        return folder

    def open(self, folder, pooling="mean"):
        build_artifact(self.write(folder), folder / "model.zenso", ModelSpec("small/random", pooling))
        return open_artifact(folder / "model.zenso")


@pytest.fixture
def small_model():
    return SmallModel


@pytest.fixture(scope="session")
def small_artifact(tmp_path_factory):
    return SmallModel().open(tmp_path_factory.mktemp("small"))
