"""The aligner: embeddings of one model, taken into the space of another.

Both models read the same texts; ridge regression learns a map from the vectors of the one to those of the other
(``pooled``), and, where both split texts into the same tokens, a second one for token states (``tokens``). A token's
state is predicted from its state and its word embedding in the source, side by side: the last layer of a model
remembers little of what the token was, and late interaction needs it.

What is mapped are int16 directions, and it is mapped in integers (``integer_map``), so results of canonical encoders
stay the same to the last bit. A file holds it:

=============== ============================= =====================================================================
pooled.weights  int16 (width, source width)   for pooled vectors
pooled.bias     int64 (width,)
tokens.weights  int16 (width, 2 source width) for token states beside word embeddings; may be missing
tokens.bias     int64 (width,)                may be missing
token_ids       int32 (source vocabulary,)    ids of the source's tokens in the target; may be missing
=============== ============================= =====================================================================

Its metadata names both models by id and by the digests of their weights and tokenizers.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from zenso.atomic_file import replacing
from zenso.canonical import ModelProvenance, normalise, quantise
from zenso.errors import InputError, IntegrityError, ModelError, StorageError
from zenso.zen.integer_map import SCALE, IntegerMap, directions
from zenso.zen.pairs import Pairs, Vectors
from zenso.zen.ridge import Ridge

DATA = Path(__file__).parent / "data" / "aligners"

PENALTY = 0.01
_FORMAT = 1

_METADATA = "aligner"


@dataclass(frozen=True)
class ModelFiles:
    """Which model: digests are BLAKE3 in hexadecimal, empty for a model that does not run here."""

    model_id: str
    weights: str = ""
    tokenizer: str = ""

    @classmethod
    def of(cls, provenance: ModelProvenance) -> "ModelFiles":
        """Read it off a provenance."""
        return cls(provenance.model_id, provenance.weights, provenance.tokenizer)


def as_directions(vectors: Vectors) -> NDArray[np.int16]:
    """Return int16 directions of scale 32767: canonical vectors as they are, floats normalised and quantised.

    Raises
    ------
    InputError
        They are neither int16 nor floats, not (n, width), or not finite.
    """
    if vectors.ndim != 2 or not (vectors.dtype == np.int16 or np.issubdtype(vectors.dtype, np.floating)):
        message = f"vectors must be int16 or floats of shape (n, width), not {vectors.dtype} {vectors.shape}"
        raise InputError(message)
    if vectors.dtype == np.int16:
        return vectors.astype(np.int16, copy=False)
    return quantise(normalise(vectors.astype(np.float32, copy=False)))


def _floats(vectors: Vectors) -> NDArray[np.float64]:
    """Return directions as float64 vectors of about length 1."""
    return as_directions(vectors).astype(np.float64) / SCALE


@dataclass(frozen=True)
class Aligner:
    """Maps from the space of one model to that of another. Learned by `fit`, kept by `save`."""

    source: ModelFiles
    target: ModelFiles
    pooled: IntegerMap
    tokens: IntegerMap | None = None
    token_ids: NDArray[np.int32] | None = None  # (source vocabulary,)
    training: str = ""  # what it was learned from, in words

    def __post_init__(self) -> None:
        if (self.tokens is None) != (self.token_ids is None):
            message = "a map for token states goes with token ids, and they with it"
            raise InputError(message)
        if self.tokens is None or self.token_ids is None:
            return
        if (self.tokens.outputs, self.tokens.inputs) != (self.pooled.outputs, 2 * self.pooled.inputs):
            message = (
                f"maps of {self.pooled.inputs} to {self.pooled.outputs} and {self.tokens.inputs} to "
                f"{self.tokens.outputs} do not fit: that for token states reads two vectors of the first's width"
            )
            raise InputError(message)
        if self.token_ids.dtype != np.int32 or self.token_ids.ndim != 1 or self.token_ids.min(initial=0) < 0:
            message = f"token ids must be int32 (n,) of at least 0, not {self.token_ids.dtype} {self.token_ids.shape}"
            raise InputError(message)

    @classmethod
    def fit(
        cls,
        source: ModelFiles,
        target: ModelFiles,
        pairs: Iterable[Pairs],
        *,
        token_ids: NDArray[np.int32] | None = None,
        penalty: float = PENALTY,
        training: str = "",
    ) -> "Aligner":
        """Learn from the same texts through both models.

        Parameters
        ----------
        source, target : ModelFiles
        pairs : iterable of Pairs
            A few thousand texts, better tens of thousands, like those that will be searched. Read once.
        token_ids : int32, shape (source vocabulary,), optional
            As `match_tokens` gives them; without them nothing is learned about token states.
        penalty : float
            Of the ridge regression, in units of a coordinate's variance.
        training : str
            What the texts are and which licence they have.

        Raises
        ------
        InputError
            There are no pairs, shapes do not fit, or a vector is not finite.
        """
        pooled: Ridge | None = None
        tokens: Ridge | None = None
        for part in pairs:
            x, y = _floats(part.source), _floats(part.target)
            pooled = pooled or Ridge(x.shape[1], y.shape[1])
            pooled.add(x, y)
            if token_ids is None or part.tokens is None:
                continue
            tokens = tokens or Ridge(2 * x.shape[1], y.shape[1])
            tokens.add(_floats(np.hstack([part.tokens.source, part.tokens.words])), _floats(part.tokens.target))
        if pooled is None:
            message = "there are no pairs to learn from; give texts through both models"
            raise InputError(message)
        return cls(
            source,
            target,
            IntegerMap.of(*pooled.solve(penalty)),
            None if tokens is None else IntegerMap.of(*tokens.solve(penalty)),
            None if tokens is None else token_ids,
            training,
        )

    @property
    def maps_tokens(self) -> bool:
        """Whether there is a map for token states, and not for pooled vectors alone."""
        return self.tokens is not None

    @cached_property
    def digest(self) -> bytes:
        """BLAKE3 of the file that `save` writes, 32 bytes."""
        return blake3(self.to_bytes()).digest()

    def align_vectors(self, vectors: Vectors) -> NDArray[np.int16]:
        """Take pooled vectors into the target's space.

        Parameters
        ----------
        vectors : int16 of scale 32767, or floats, shape (n, source width)

        Returns
        -------
        int16, shape (n, width)
            Directions, scale 32767.

        Raises
        ------
        InputError
            The type or width is another, or a number is not finite.
        """
        given = as_directions(vectors)
        if given.shape[1] != self.pooled.inputs:
            message = (
                f"the vectors have {given.shape[1]} coordinates, those of {self.source.model_id} have "
                f"{self.pooled.inputs}; use the aligner of the model that made them"
            )
            raise InputError(message)
        return directions(self.pooled.sums(given))

    def align_tokens(self, tokens: NDArray[np.int16], words: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take token states into the target's space.

        Parameters
        ----------
        tokens : int16, shape (m, source width)
            Directions, scale 32767.
        words : int16, shape (m, source width)
            The word embeddings of these tokens, as `word_directions` gives them.

        Returns
        -------
        int16, shape (m, width)
            Directions, scale 32767.

        Raises
        ------
        InputError
            A type or shape is another, or this aligner has no map for token states.
        """
        if self.tokens is None:
            message = f"the aligner from {self.source.model_id} maps pooled vectors only"
            raise InputError(message)
        expected = (len(tokens), self.pooled.inputs)
        if not tokens.shape == words.shape == expected or not tokens.dtype == words.dtype == np.int16:
            message = (
                f"token states and word embeddings of {self.source.model_id} must be int16 (m, {self.pooled.inputs}), "
                f"not {tokens.dtype} {tokens.shape} and {words.dtype} {words.shape}"
            )
            raise InputError(message)
        return directions(self.tokens.sums(np.hstack([tokens, words])))

    def align_ids(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the target's ids of the source's tokens.

        Raises
        ------
        InputError
            This aligner has no map for token states, or there is no such token.
        """
        if self.token_ids is None:
            message = f"the aligner from {self.source.model_id} maps pooled vectors only"
            raise InputError(message)
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self.token_ids):
            message = f"token ids are {ids.min()} to {ids.max()}; {self.source.model_id} has {len(self.token_ids)}"
            raise InputError(message)
        return self.token_ids[ids]

    def to_bytes(self) -> bytes:
        """Return what `save` writes."""
        tensors: dict[str, NDArray[np.generic]] = {}
        for name, one in (("pooled", self.pooled), ("tokens", self.tokens)):
            if one is not None:
                tensors |= {f"{name}.weights": one.weights, f"{name}.bias": one.bias}
        if self.token_ids is not None:
            tensors["token_ids"] = self.token_ids
        about = {
            "format": _FORMAT,
            "source": asdict(self.source),
            "target": asdict(self.target),
            "training": self.training,
        }
        # One entry, because the order of several is not fixed; and safetensors writes the memory of arrays as it lies.
        laid = {name: np.ascontiguousarray(one) for name, one in tensors.items()}
        return save(laid, {_METADATA: json.dumps(about, sort_keys=True, separators=(",", ":"))})

    def save(self, path: Path) -> None:
        """Write it to a safetensors file, in one step.

        Raises
        ------
        StorageError
            The file cannot be written.
        """
        try:
            with replacing(path) as file:
                file.write(self.to_bytes())
        except OSError as error:
            message = f"cannot write the aligner {path}: {error.strerror or error}; choose another place"
            raise StorageError(message) from error

    @classmethod
    def load(cls, path: Path) -> "Aligner":
        """Read what `save` wrote.

        Raises
        ------
        StorageError
            There is no such file, or it cannot be read.
        IntegrityError
            The file is damaged, or is no aligner that this version reads.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            message = f"cannot read the aligner {path}: {error.strerror or error}"
            raise StorageError(message) from error
        try:
            tensors = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            about = json.loads(header["__metadata__"][_METADATA])
            if about["format"] != _FORMAT:
                raise _damaged(path, f"it has format {about['format']!r}, this Zenso reads {_FORMAT}")
            maps = {
                name: IntegerMap(tensors[f"{name}.weights"], tensors[f"{name}.bias"])
                for name in ("pooled", "tokens")
                if name == "pooled" or f"{name}.weights" in tensors
            }
            return cls(
                ModelFiles(**about["source"]),
                ModelFiles(**about["target"]),
                maps["pooled"],
                maps.get("tokens"),
                tensors.get("token_ids"),
                str(about["training"]),
            )
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(f"the aligner {path} is damaged or of another version ({why}); make it again")


def load_aligner(source: str, target: str) -> Aligner:
    """Load the aligner that is shipped for two models of the catalogue, given by their short names.

    Raises
    ------
    ModelError
        None is shipped for these two.
    IntegrityError
        The file is damaged.
    """
    path = DATA / target / f"{source}.safetensors"
    if not path.is_file():
        shipped = [f"{file.stem} to {file.parent.name}" for file in sorted(DATA.glob("*/*.safetensors"))]
        message = f"no aligner from {source} to {target} is shipped, only {', '.join(shipped)}; train one: Aligner.fit"
        raise ModelError(message)
    return Aligner.load(path)
