"""From a model of the catalogue to its opened integer artifact: built once from verified files, then cached."""

from pathlib import Path

from zenso.canonical import Artifact, build_artifact, open_artifact
from zenso.errors import IntegrityError, ModelError, StorageError
from zenso.models.cache import cache_folder
from zenso.models.catalogue import ModelEntry, lookup
from zenso.models.fetch import fetch
from zenso.models.progress import OnProgress, Transfer, silent

ARTIFACT_NAME = "model.zenso"


def load_artifact(
    model: str | ModelEntry, folder: str | Path | None = None, *, on_progress: OnProgress = silent
) -> Artifact:
    """Open a model's artifact; fetch the model and build the artifact when it is not there or damaged.

    Parameters
    ----------
    folder : path, optional
        A folder that holds the model's files already; the artifact is cached all the same.

    Raises
    ------
    ModelError
        The model is unknown, cannot be fetched, or is not of a kind that the kernel runs.
    IntegrityError
        A file, or the artifact built from it, is not what the catalogue says.
    StorageError
        The cache cannot be written.
    """
    entry = model if isinstance(model, ModelEntry) else lookup(model)
    if entry.kind != "embedding":
        raise ModelError(f"{entry.name} writes text; it gives no embeddings. Load it with load_generator")
    path = cache_folder(entry) / ARTIFACT_NAME
    expected = bytes.fromhex(entry.artifact_blake3) if entry.artifact_blake3 else None
    if path.exists():
        try:
            return open_artifact(path, expected_digest=expected)
        except (IntegrityError, StorageError):
            pass  # of an older version, or damaged: build it again below
    weights = fetch(entry, folder, on_progress=on_progress)
    built = build_artifact(
        weights,
        path,
        entry.spec,
        lambda share: on_progress(Transfer(f"{entry.name}: integer weights", round(share * 100), 100)),
    )
    if expected is not None and built != expected:
        path.unlink(missing_ok=True)
        message = (
            f"the integer weights of {entry.name} built here have digest {built.hex()}, the catalogue says "
            f"{expected.hex()}; this Zenso and its catalogue do not belong together: reinstall zenso"
        )
        raise IntegrityError(message)
    return open_artifact(path, expected_digest=expected)
