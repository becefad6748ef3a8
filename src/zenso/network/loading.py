"""Getting a node's models, in threads: the one that it needs to judge records, and those that it is asked for."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from zenso import models
from zenso.errors import InputError, IntegrityError, ModelError, ZensoError
from zenso.network.recomputation import Recomputer
from zenso.network.shared_models import FetchObject, from_peers

log = logging.getLogger("zenso.network")
_RETRY_SECONDS = 15.0
_WAIT_SECONDS = 60.0  # for which who needs the model waits, as long as nothing is wrong
_ENDING_SECONDS = 1.0


class ModelLoading:
    """Loads the model of a node: from peers where no other source gives it, and again until it is there.

    Parameters
    ----------
    name : str
        Of the model.
    recomputer : Recomputer
        Whose encoder is loaded.
    fetch : callable
        Fetches an object from peers.
    on_progress : callable
        Told of the fetch.
    on_loaded : callable
        Called once it is there.
    """

    def __init__(
        self,
        name: str,
        recomputer: Recomputer,
        fetch: FetchObject,
        on_progress: models.OnProgress,
        on_loaded: Callable[[], None],
    ) -> None:
        self._name = name
        self._recomputer = recomputer
        self._fetch = fetch
        self._on_progress = on_progress
        self._on_loaded = on_loaded
        self._transfer: models.Transfer | None = None
        self._problem: str | None = None
        self._settled = threading.Condition()  # of _problem, and of the encoder
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zenso-node-model", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End it; what it still does harms nobody, as files get their names when they are whole."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_ENDING_SECONDS)

    def wait(self) -> None:
        """Return when the model is there.

        Raises
        ------
        InputError
            It cannot be loaded now, and why; or it is still on its way after a minute.
        """
        with self._settled:
            self._settled.wait_for(lambda: self._recomputer.is_loaded or self._problem is not None, _WAIT_SECONDS)
        if self._recomputer.is_loaded:
            return
        if self._problem is not None:
            raise InputError(f"the node has no model yet and tries again: {self._problem}")
        moved = self._transfer
        told = f" ({moved.what}: {moved.done:,} of {moved.total or 0:,} bytes)" if moved is not None else ""
        raise InputError(f"the model {self._name} is still being loaded{told}; try again later")

    def status(self) -> dict[str, Any]:
        """Return ``name``, ``loaded``, ``problem`` (None where there is none), and how far a fetch of a file is."""
        loaded, moved = self._recomputer.is_loaded, self._transfer
        return {
            "name": self._name,
            "loaded": loaded,
            "problem": None if loaded else self._problem,
            **_shown(None if loaded else moved),
        }

    def tell(self, event: models.Transfer | models.Note) -> None:
        """Remember how far a fetch is, and pass it on."""
        if isinstance(event, models.Transfer):
            self._transfer = event
        self._on_progress(event)

    def _run(self) -> None:
        while not self._closing.is_set():
            problem = None
            try:
                self._load()
            except ZensoError as error:
                problem = str(error)
                log.warning("the model %s is tried again in %g s: %s", self._name, _RETRY_SECONDS, problem)
            except Exception as error:
                problem = str(error) or type(error).__name__
                log.exception("the model %s could not be loaded; it is tried again", self._name)
            with self._settled:
                self._problem = problem
                self._settled.notify_all()
            if problem is None:
                self._on_loaded()
                return
            self._closing.wait(_RETRY_SECONDS)

    def _load(self) -> None:
        try:
            _ = self._recomputer.encoder
        except (ModelError, IntegrityError) as error:
            if models.locate(self._name) is not None:
                raise
            # The nearest source first; peers give what cannot be had otherwise.
            self.tell(models.Note(f"asking peers for {self._name}: {error}"))
            try:
                models.fetch(self._name, source=from_peers(self._fetch), on_progress=self.tell)
            except ModelError as second:
                raise ModelError(f"{error} Nor do peers give it: {second}") from error
            _ = self._recomputer.encoder


class ModelFetches:
    """Fetches from peers that the node's owner asked for; each goes on whether or not anybody asks how far it is.

    Parameters
    ----------
    fetch : callable
        Fetches an object from peers.
    """

    def __init__(self, fetch: FetchObject) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}

    def progress(self, model: str) -> dict[str, Any]:
        """Begin to fetch a model, or tell how far that is.

        Returns
        -------
        dict
            ``name``; ``folder``, None until it is there; and ``what``, ``done``, ``total`` of the file that comes.

        Raises
        ------
        ModelError, IntegrityError, StorageError
            It is unknown, or has failed; the next call begins anew.
        """
        entry = models.lookup(model)
        with self._lock:
            job = self._jobs.get(entry.name)
            if job is None:
                job = self._jobs[entry.name] = _Job(entry, self._fetch)
                job.start()
            elif not job.is_alive():
                del self._jobs[entry.name]
        if job.error is not None:
            raise job.error
        return {"name": entry.name, "folder": job.folder, **_shown(job.transfer)}


class _Job(threading.Thread):
    """One fetch."""

    def __init__(self, entry: models.ModelEntry, fetch: FetchObject) -> None:
        super().__init__(name=f"zenso-node-fetch-{entry.name}", daemon=True)
        self._entry = entry
        self._fetch = fetch
        self.transfer: models.Transfer | None = None
        self.folder: str | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.folder = str(models.fetch(self._entry, source=from_peers(self._fetch), on_progress=self._tell))
        except Exception as error:  # noqa: BLE001 - it is told to who asks next
            self.error = error

    def _tell(self, event: models.Transfer | models.Note) -> None:
        if isinstance(event, models.Transfer):
            self.transfer = event


def _shown(transfer: models.Transfer | None) -> dict[str, Any]:
    if transfer is None:
        return {"what": None, "done": None, "total": None}
    return {"what": transfer.what, "done": transfer.done, "total": transfer.total}
