"""Model files from a model hub, through the hub's own client."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub

from zenso.errors import IntegrityError
from zenso.models.catalogue import HubSource, ModelFile
from zenso.models.files import SourceError, copy_verified
from zenso.models.progress import OnProgress, Transfer


def from_hub(
    hub: HubSource, files: list[ModelFile], incoming: Path, on_progress: OnProgress, *, offline: bool
) -> list[Path]:
    """Write the wanted files of a model, verified, into `incoming`.

    What the hub's client has in its own cache is taken from there. The rest it downloads, unless `offline`; it retries
    a broken connection by itself, and HF_ENDPOINT names another hub.

    Raises
    ------
    SourceError
        The hub is not reached or refuses, or `offline` and its cache lacks a file.
    IntegrityError
        A downloaded file has the wrong hash.
    """
    return [
        _from_client_cache(hub, file, incoming) or _download(hub, file, incoming, on_progress, offline=offline)
        for file in files
    ]


def _from_client_cache(hub: HubSource, file: ModelFile, incoming: Path) -> Path | None:
    cached = huggingface_hub.try_to_load_from_cache(hub.repository, file.name, revision=hub.revision)
    if not isinstance(cached, str):
        return None
    try:
        return copy_verified(Path(cached), file, incoming, cached)
    except (IntegrityError, SourceError):
        # That cache may hold an older revision of the repository, which is no fault of anybody's.
        return None


def _download(hub: HubSource, file: ModelFile, incoming: Path, on_progress: OnProgress, *, offline: bool) -> Path:
    if offline:
        raise SourceError(f"{hub.repository}/{file.name} is not in the hub's cache, and ZENSO_OFFLINE is set")
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        # Asked first, because the download itself would try an unreachable hub for half a minute.
        huggingface_hub.get_hf_file_metadata(
            huggingface_hub.hf_hub_url(hub.repository, file.name, revision=hub.revision, endpoint=endpoint)
        )
        path = huggingface_hub.hf_hub_download(
            hub.repository,
            file.name,
            revision=hub.revision,
            local_dir=incoming / "hub",
            endpoint=endpoint,
            tqdm_class=_bar(lambda done: on_progress(Transfer(file.name, done, file.size))),
        )
    except Exception as error:  # the errors are those of its HTTP library, which differs between versions
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise SourceError(f"{hub.repository}/{file.name}: {reason}") from error
    return copy_verified(Path(path), file, incoming, f"the hub ({hub.repository})")


def _bar(tell: Callable[[int], None]) -> Any:  # noqa: ANN401 - the class it derives from has no types
    """Make a progress bar that draws nothing and tells how many bytes are here: the client knows no callback."""
    base: Any = importlib.import_module("huggingface_hub.utils.tqdm").tqdm
    arrived = 0

    class TellingBar(base):  # type: ignore[misc]
        def __init__(self, *arguments: object, **options: object) -> None:
            self.done = int(str(options.get("initial") or 0))
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, count: float | None = 1) -> None:
            # The client may open two bars for one file, for what it received and for what it wrote.
            nonlocal arrived
            self.done += int(count or 0)
            arrived = max(arrived, self.done)
            tell(arrived)

    return TellingBar
