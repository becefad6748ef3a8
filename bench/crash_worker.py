"""What is killed: a process that changes a memory at random and says over a pipe what it begins and what is done.

Before each operation it writes a line of JSON that describes it, afterwards ``{"done": true}``. Whoever reads them
knows what the memory must hold, and which single operation may have happened or not.
"""

import json
import os
import random
import resource
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from zenso.errors import StorageError
from zenso.memory import Memory, list_snapshots, restore, upkeep
from zenso.zen import ZenEncoder

OPERATIONS = ("add", "delete", "compact", "reembed", "backup", "restore")
MOST_DOCUMENTS = 240
_FOCUS = 0.4
_SEGMENT_ROWS, _CLOSING_ROWS = 32, 4  # small, so that segments come and go all the time

Encoders = tuple[ZenEncoder, ZenEncoder]


def small_segments() -> None:
    """Make segments so small that a few documents fill several."""
    upkeep.SEGMENT_ROWS, upkeep.CLOSING_ROWS = _SEGMENT_ROWS, _CLOSING_ROWS


def fitting(encoders: Encoders, stored: Mapping[str, Any] | None) -> ZenEncoder:
    """Return the encoder that made a memory's embeddings; the first if there are none."""
    text = json.dumps(stored)
    return next((e for e in encoders if stored is not None and not e.provenance.differences(text)), encoders[0])


class Worker:
    """Changes one memory, many of the operations being the one that the round is about."""

    def __init__(self, folder: Path, target: Path, encoders: Encoders, seed: str, pipe: int) -> None:
        self._folder = folder
        self._target = target
        self._encoders = encoders
        self._random = random.Random(seed)
        self._seed = seed
        self._pipe = pipe
        self._number = 0
        self._memory = self._open()

    def run(self, focus: str, most: int) -> None:
        """Do up to ``most`` operations; one that the disk refuses is said, and the next is tried."""
        self._say({"ready": True})
        for _ in range(most):
            operation = (
                focus if self._random.random() < 0.4 else self._random.choice(("add", "add", "delete", "reopen"))
            )
            try:
                getattr(self, f"_{operation}")()
            except StorageError as error:
                self._say({"refused": str(error)})
                # What was refused half-way must not have taken the object with it, but a restore may have moved on.
                self._memory.close()
                self._memory = self._open()
        self._memory.close()

    def _open(self) -> Memory:
        with Memory.open(self._folder, read_only=(self._folder / "memory.sqlite3").exists()) as memory:
            encoder = fitting(self._encoders, memory.info().provenance)
        return Memory.open(self._folder, encoder=encoder)

    def _say(self, event: Mapping[str, object]) -> None:
        data = json.dumps(event).encode() + b"\n"
        while data:
            data = data[os.write(self._pipe, data) :]

    def _done(self, **more: object) -> None:
        self._say({"done": True, **more})

    def _add(self) -> None:
        ids = self._memory.ids()
        if len(ids) > MOST_DOCUMENTS:
            self._delete()
            return
        replaced = self._random.sample(ids, min(len(ids), self._random.randrange(3)))
        self._number += 1
        new = [f"{self._seed}-{self._number}-{part}" for part in range(self._random.randrange(1, 12))]
        words = self._random.randrange(10**9)
        texts = {name: f"document {name} says {words + place}" for place, name in enumerate([*replaced, *new])}
        self._say({"operation": "add", "texts": texts})
        self._memory.add(list(texts.values()), ids=list(texts), metadata={"round": self._seed})
        self._done()

    def _delete(self) -> None:
        ids = self._memory.ids()
        chosen = self._random.sample(ids, min(len(ids), self._random.randrange(1, 20)))
        self._say({"operation": "delete", "ids": chosen})
        self._memory.delete(chosen)
        self._done()

    def _compact(self) -> None:
        self._say({"operation": "compact"})
        self._memory.compact()
        self._done()

    def _reopen(self) -> None:
        """Close, which writes segments, and open, which reads whatever is there."""
        self._say({"operation": "close"})
        self._memory.close()
        self._done()
        self._memory = self._open()

    def _reembed(self) -> None:
        current = fitting(self._encoders, self._memory.info().provenance)
        other = self._encoders[1] if current is self._encoders[0] else self._encoders[0]
        self._memory.close()
        self._memory = Memory.open(self._folder, encoder=other)
        self._say({"operation": "reembed"})
        self._memory.reembed()
        self._done()

    def _backup(self) -> None:
        self._say({"operation": "backup"})
        snapshot = self._memory.backup(self._target)
        self._done(snapshot=snapshot.path.name)

    def _restore(self) -> None:
        snapshots = list_snapshots(self._target) if self._target.is_dir() else []
        if not snapshots:
            self._backup()
            return
        chosen = self._random.choice(snapshots)
        self._say({"operation": "restore", "snapshot": chosen.path.name})
        restore(chosen.path, self._folder, force=True)
        self._done()
        self._memory.close()
        self._memory = self._open()


def work(worker_arguments: tuple[Path, Path, Encoders, str, int], focus: str, most: int, limit: int | None) -> None:
    """Run a worker in this process, which was forked for it; ``limit`` is the most bytes a file may have."""
    small_segments()
    with suppress(BrokenPipeError):
        worker = Worker(*worker_arguments)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        worker.run(focus, most)
