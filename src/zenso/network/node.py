"""A node: it holds records of its domains, takes those of its peers that pass, and gives its peers what they lack.

It runs in a thread of its own (see ``loop``); its methods are called from any other thread.
"""

import logging
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import trio

from zenso.errors import InputError, ZensoError
from zenso.memory import Memory
from zenso.models import OnProgress, silent
from zenso.network.admission import HOURLY, Admission
from zenso.network.experiences import Experiences, prompt_block
from zenso.network.folder import read_folder
from zenso.network.loading import ModelFetches, ModelLoading
from zenso.network.loop import NodeLoop
from zenso.network.recomputation import Recomputer
from zenso.network.records import LESSONS, Operation, Record, parse_id, sign_record
from zenso.network.shared_models import SharedModels
from zenso.network.store import RecordStore
from zenso.network.transport import first_error
from zenso.zen import ZenEncoder, load_encoder

T = TypeVar("T")
log = logging.getLogger("zenso.network")
_STARTING_SECONDS = 60.0
_INDEX_SECONDS = 0.2  # in which more may come, to be embedded together
_RETRY_SECONDS = 10.0
_DISPUTE_SECONDS = 1.0  # within which a node disputes what it found wrong
_DISPUTES_WITHIN = HOURLY // 2  # records of the owner's in an hour, disputes included, beyond which none is added
_PEER_OF_OWN = "self"  # who hands over what the node's owner submits


class NodeFailedError(ZensoError):
    """A node that ran has ended by an error."""


class Node:
    """A node in a folder; a context manager that runs it.

    Parameters
    ----------
    folder : Path
        Made by ``create_folder``.
    encoder : callable, optional
        Returns the encoder of a model's name; called in a thread when the node listens, and again where it fails. By
        default the node loads its own, and asks peers for the model where no other source gives it.
    on_progress : callable
        Told of the fetches of models.

    Raises
    ------
    InputError
        There is no node, it runs already, or its addresses cannot be listened on.
    StorageError, IntegrityError
        A file cannot be used.
    """

    def __init__(
        self, folder: Path, *, encoder: Callable[[str], ZenEncoder] | None = None, on_progress: OnProgress = silent
    ) -> None:
        self.folder = read_folder(folder)
        self._lock = self.folder.lock()
        settings = self.folder.settings
        domains, limits = settings.domains, settings.limits
        self.store = RecordStore(
            self.folder.records_path, most_bytes=limits.store_bytes, most_reputations=limits.reputations
        )
        self._recomputer = Recomputer(
            lambda: (encoder or partial(load_encoder, on_progress=self._loading.tell))(settings.model)
        )
        own = self.folder.identity.public_key
        self._admission = Admission(self.store, self._recomputer, domains, clock=time.time, own=own)
        self._memory = Memory.open(self.folder.memory_path, encoder=lambda: self._recomputer.encoder)
        self._experiences = Experiences(self._memory, self._admission)
        self._changed, self._closing = threading.Event(), threading.Event()
        self._changed.set()  # as far as is known
        self._indexer = threading.Thread(target=self._index, name="zenso-node-index", daemon=True)
        shared = SharedModels() if settings.share_models else None
        self._loop = NodeLoop(self.folder, self.store, self._admission, self._answer, self._changed.set, shared)
        fetch = self._loop.fetch_object
        self._loading = ModelLoading(settings.model, self._recomputer, fetch, on_progress, self._indexer.start)
        self._fetches = ModelFetches(fetch)
        self._outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()  # None: it listens
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="zenso-node", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            outcome = self._outcome.get(timeout=_STARTING_SECONDS)
        except queue.Empty:
            outcome = NodeFailedError(f"the node does not listen after {_STARTING_SECONDS:g} s; try again")
        except BaseException:
            self.close()
            raise
        if outcome is not None:
            self.close()
            raise first_error(outcome)
        self._loading.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; what was accepted is on the disk."""
        self._loop.stop()
        self._loading.close()
        self._closing.set()
        self._changed.set()
        for thread in (self._thread, self._indexer):
            if thread.is_alive():
                thread.join()
        self._memory.close()
        self.store.close()
        self._lock.close()

    def run_until_signal(self, on_model: Callable[[], None] = lambda: None) -> None:
        """Wait for SIGTERM, or raise KeyboardInterrupt at SIGINT; to be called in the main thread.

        Parameters
        ----------
        on_model : callable
            Called once the model is there.

        Raises
        ------
        NodeFailedError
            The node has ended by itself.
        """
        ended = threading.Event()
        before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
        told = False
        try:
            while not ended.wait(0.5):
                if not told and self._recomputer.is_loaded:
                    on_model()
                    told = True
                if not self._thread.is_alive():
                    raise NodeFailedError(f"the node has ended: {self._failure}; see the log")
        finally:
            signal.signal(signal.SIGTERM, before)

    # --- what its owner asks for ----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what the node holds, with whom it is connected, and what was refused and why."""
        records = self.store.domains()
        domains = {
            name: {
                "records": records.get(name, 0),
                "experiences": len(self.store.lessons(name)),
                "digest": self.store.digest(name).hex(),
            }
            for name in self.folder.settings.domains
        }
        return {**self._call(self._loop.status), "domains": domains, "model": self._loading.status()}

    def peers(self) -> list[dict[str, Any]]:
        """Return what is known of each peer, those that are connected first."""
        return self._call(self._loop.peers)

    def fetch(self, model: str) -> dict[str, Any]:
        """Begin to fetch a model from peers into the cache, or tell how far that is; see ``ModelFetches.progress``."""
        return self._fetches.progress(model)

    def submit(
        self,
        text: str,
        domain: str | None = None,
        *,
        confidence: float = 0.5,
        source_model: str = "",
        targets: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Sign an experience and send it to all nodes of its domain.

        Parameters
        ----------
        text : str
        domain : str, optional
            The first that the node follows, by default.
        confidence : float
            How sure its creator is, 0 to 1.
        source_model : str
            What it was learned with.
        targets : sequence of str
            Ids of own experiences whose place it takes.

        Returns
        -------
        dict
            ``id``, ``domain``, and ``peers``: how many are connected.

        Raises
        ------
        InputError
            It cannot be an experience, or this node itself refuses it, and why.
        """
        self._loading.wait()
        return self._send_record(
            self._experiences.sign_lesson(
                self.folder.identity,
                text,
                self._followed(domain),
                confidence=confidence,
                source_model=source_model,
                replaces=[parse_id(target) for target in targets],
            )
        )

    def withdraw(self, targets: Sequence[str]) -> dict[str, Any]:
        """Take own experiences of one domain away, on all nodes and for good; see ``submit``."""
        return self._send_record(self._sign(Operation.DELETE, self._held(targets[0]).domain, targets))

    def vote(self, target: str, vote: int) -> dict[str, Any]:
        """Say of an experience that it helped (1), or misled (-1); see ``submit``."""
        return self._send_record(self._sign(Operation.VOTE, self._held(target).domain, [target], vote=vote))

    def dispute(self, target: str) -> dict[str, Any]:
        """Say that an experience's code is not that of its text: each node recomputes it; see ``submit``.

        Raises
        ------
        InputError
            Also where the code is right: a false dispute would cost this node its reputation.
        """
        self._loading.wait()
        lesson = self._held(target)
        if lesson.operation in LESSONS and self._recomputer.is_right(lesson):
            raise InputError(f"the code of {target} is that of its text, recomputed here; there is nothing to dispute")
        return self._send_record(self._sign(Operation.DISPUTE, lesson.domain, [target]))

    def creators(self, most: int = 100) -> list[dict[str, Any]]:
        """Return the reputation of creators, the best first: ``creator`` (hexadecimal) and ``score``, 0 to 1."""
        now = time.time()
        scores = {
            subject.removeprefix("key:"): reputation.score(now)
            for subject, reputation in self.store.reputations().items()
            if subject.startswith("key:")
        }
        best = sorted(scores.items(), key=lambda item: -item[1])[:most]
        return [{"creator": creator, "score": score} for creator, score in best]

    def latest(self, domain: str | None = None, limit: int = 100) -> dict[str, Any]:
        """Return the latest ``experiences`` of a domain that stand, and their number in ``total``."""
        domain = self._followed(domain)
        entries = [entry for one in self.store.lessons(domain) if (entry := self.store.entry(one)) is not None]
        entries.sort(key=lambda entry: (entry.created_at, entry.id), reverse=True)
        records = [record for entry in entries[:limit] if (record := self.store.get(entry.id)) is not None]
        return {"experiences": [_shown(record) for record in records], "total": len(entries)}

    def search(
        self, query: str, domain: str | None = None, *, k: int = 5, min_confidence: float = 0.0
    ) -> dict[str, Any]:
        """Search the experiences that the node holds; what has just come may take a second to be found.

        Parameters
        ----------
        query : str
        domain : str, optional
            All that the node follows, by default.
        k : int
            Most results.
        min_confidence : float
            Of the results, 0 to 1.

        Returns
        -------
        dict
            ``experiences``, the best first, and ``prompt``: numbered lessons to put into a prompt.

        Raises
        ------
        InputError
            The query is empty, or the domain is not followed.
        """
        self._loading.wait()
        domains = self.folder.settings.domains if domain is None else [self._followed(domain)]
        found = [hit for one in domains for hit in self._experiences.search(query, one, k, min_confidence)]
        best = sorted(found, key=lambda hit: (-hit.score, hit.id))[:k]
        return {"experiences": [asdict(hit) for hit in best], "prompt": prompt_block(best)}

    def _send_record(self, record: Record) -> dict[str, Any]:
        """Offer an own record to this node, and if it passes to its peers."""
        self._loading.wait()
        verdict = self._admission.offer(record.encoded, _PEER_OF_OWN, own=True)
        if not verdict.accepted:
            raise InputError(f"refused ({verdict.reason}): {verdict.text}")
        self._changed.set()
        peers = self._loop.publish(record.domain, record.encoded)
        return {"id": record.id_text, "domain": record.domain, "peers": peers}

    def _sign(self, operation: Operation, domain: str, targets: Sequence[str], **fields: int) -> Record:
        identity = self.folder.identity
        return sign_record(
            identity,
            operation,
            domain,
            self._admission.now_milliseconds(),
            bits=self._admission.required_bits(identity.public_key),
            targets=[parse_id(target) for target in targets],
            **fields,
        )

    def _followed(self, domain: str | None) -> str:
        followed = self.folder.settings.domains
        domain = domain or followed[0]
        if domain not in followed:
            raise InputError(f"this node does not follow {domain!r}; it follows {', '.join(followed)}")
        return domain

    def _held(self, target: str) -> Record:
        record = self.store.get(parse_id(target))
        if record is None:
            raise InputError(f"this node holds no record {target}; search for it, or wait until it has arrived")
        return record

    # --- the indexer's thread -------------------------------------------------------------------------------------

    def _index(self) -> None:
        """Make what was accepted searchable; every text is embedded, so wrong codes are found, and go."""
        while not self._closing.is_set():
            self._changed.wait()
            self._changed.clear()
            if self._closing.wait(_INDEX_SECONDS):
                return
            try:
                self._dispute_wrong(self._experiences.update().wrong)
            except (ZensoError, trio.RunFinishedError, trio.Cancelled):
                if self._closing.is_set():
                    return
                log.exception("experiences could not be indexed; it is tried again")
                self._closing.wait(_RETRY_SECONDS)
                self._changed.set()

    def _dispute_wrong(self, wrong: Sequence[Record]) -> None:
        """Dispute wrong codes that were passed on from here before they were found, unless another node has."""
        creator = self.folder.identity.public_key

        def has_room() -> bool:  # the rest of what a key may send is its owner's
            return self._admission.count_hour(creator, self._admission.now_milliseconds()) < _DISPUTES_WITHIN

        if not wrong or not has_room() or self._closing.wait(random.uniform(0, _DISPUTE_SECONDS)):  # noqa: S311
            return  # chance lets one node be the first, and the others see its dispute
        for record in wrong:
            if has_room() and not self.store.disputers(record.domain, record.id):
                self._send_record(self._sign(Operation.DISPUTE, record.domain, [record.id_text]))

    # --- the loop's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run(lambda: self._outcome.put(None))
        except BaseException as error:  # noqa: BLE001 - it is told to who waits
            self._failure = first_error(error)
            self._outcome.put(error)

    def _call(self, function: Callable[[], T]) -> T:
        try:
            return self._loop.call(function)
        except (trio.RunFinishedError, trio.Cancelled) as error:
            raise NodeFailedError("the node has ended; start it again") from error

    async def _answer(self, command: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Answer a request of the control socket."""
        commands: dict[str, Callable[..., Any]] = {
            "status": self.status,
            "peers": self.peers,
            "submit": self.submit,
            "withdraw": self.withdraw,
            "vote": self.vote,
            "dispute": self.dispute,
            "search": self.search,
            "fetch": self.fetch,
        }
        if command not in commands:
            raise InputError(f"there is no command {command!r}; this node may be older than the one that asks it")
        return await trio.to_thread.run_sync(partial(commands[command], **arguments))


def _shown(record: Record) -> dict[str, Any]:
    return {
        "id": record.id_text,
        "text": record.text,
        "domain": record.domain,
        "confidence": record.confidence,
        "source_model": record.source_model,
        "creator": record.creator.hex(),
        "created_at": record.created_at,
    }
