"""The native model where it can be had, another one through an aligner where it cannot."""

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

from zenso import models
from zenso.errors import IntegrityError, ModelError
from zenso.zen.aligned_encoder import AlignedEncoder
from zenso.zen.embedding import DocumentEmbeddings, QueryEmbedding
from zenso.zen.encoder import Provenance, ZenEncoder, load_encoder

PRIMARY, FALLBACK = "all-MiniLM-L6-v2", "all-mpnet-base-v2"


class FallbackWarning(UserWarning):
    """Another model stands in for the one that was asked for."""


T = TypeVar("T", DocumentEmbeddings, QueryEmbedding)


@dataclass(frozen=True)
class FallbackResult(Generic[T]):
    """Embeddings and what made them."""

    embedded: T
    model: str  # id of the model that was run
    provenance: Provenance  # ``native`` is false where an aligner was needed


_fallen_back: dict[tuple[str, str, int | None], AlignedEncoder] = {}
_choosing = threading.Lock()


def load_with_fallback(
    primary: str = PRIMARY,
    fallback: str = FALLBACK,
    *,
    threads: int | None = None,
    on_progress: models.OnProgress = models.silent,
) -> ZenEncoder:
    """Load a model, or another one through its aligner, with a warning.

    The warning comes once in a process for the same models: what stands in goes on standing in.

    Parameters
    ----------
    primary : str
        Name or id of the model that is wanted.
    fallback : str
        Name or id of the one that stands in.
    threads : int, optional
        The number of processors by default.

    Raises
    ------
    ModelError
        Neither can be loaded; the message says why of both.
    """
    wanted, other = models.lookup(primary), models.lookup(fallback)
    key = (wanted.name, other.name, threads)
    with _choosing:
        if key in _fallen_back:
            return _fallen_back[key]
        try:
            return load_encoder(wanted.name, threads=threads, on_progress=on_progress)
        except (ModelError, IntegrityError) as error:
            try:
                aligned = AlignedEncoder(other.name, wanted.name, threads=threads, on_progress=on_progress)
            except (ModelError, IntegrityError) as second:
                message = f"neither {wanted.name} ({error}) nor {other.name} ({second}) can be loaded"
                raise ModelError(message) from error
            warnings.warn(
                f"{wanted.name} cannot be loaded, {other.name} stands in through an aligner, which finds less: {error}",
                FallbackWarning,
                stacklevel=2,
            )
            _fallen_back[key] = aligned
            return aligned


@overload
def encode_with_fallback(  # type: ignore[overload-overlap]  # a str is a sequence of str, but means a query
    texts: str, primary: str = ..., fallback: str = ...
) -> FallbackResult[QueryEmbedding]: ...
@overload
def encode_with_fallback(
    texts: Sequence[str], primary: str = ..., fallback: str = ...
) -> FallbackResult[DocumentEmbeddings]: ...


def encode_with_fallback(
    texts: str | Sequence[str], primary: str = PRIMARY, fallback: str = FALLBACK
) -> FallbackResult[QueryEmbedding] | FallbackResult[DocumentEmbeddings]:
    """Embed with a model, or with another one through its aligner where it cannot be loaded.

    Parameters
    ----------
    texts : str or sequence of str
        One str is a query, several are documents.
    primary, fallback : str
        As `load_with_fallback`, which says when there is a warning.

    Returns
    -------
    FallbackResult
        Its provenance is not that of native embeddings where an aligner was needed.

    Raises
    ------
    InputError
        A text is not a string, or is empty.
    ModelError
        Neither model can be loaded.
    """
    encoder = load_with_fallback(primary, fallback)
    provenance = encoder.provenance
    if isinstance(texts, str):
        return FallbackResult(encoder.encode_query(texts), provenance.model.model_id, provenance)
    return FallbackResult(encoder.encode_documents(texts), provenance.model.model_id, provenance)
