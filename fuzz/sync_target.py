"""The process that atheris drives: ``sync_target.py FOLDER [libFuzzer options]``.

The fuzzer is the peer in a synchronisation with a node that has a real store and a real admission: it answers the
node's questions, or asks its own, honestly, bent in places, or with whatever bytes; it stalls, leaves, or goes on for
ever. However that goes, the exchange ends in time and within its bytes, every valid record of the node is still there,
no invalid one is, and an honest node synchronises with it afterwards.
"""

import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

import zenso.memory
import zenso.robust
import zenso.zen  # noqa: F401 - imported before, so that none of these is instrumented

with atheris.instrument_imports(
    include=[f"zenso.network.{name}" for name in ("admission", "channel", "loop", "reconciliation", "records", "sync")]
):
    from fuzz.sync_peer import Line, Opened, Peer
    from fuzz.sync_records import ALICE, ALLOWED, DOMAIN, HELD, INVALID, KEPT, NOW, OTHERS, RECOMPUTER, SHARED
    from zenso.network.admission import Admission
    from zenso.network.loop import NodeLoop
    from zenso.network.records import Record

import trio
import trio.testing

from zenso.network.folder import NodeFolder
from zenso.network.reasons import Reason
from zenso.network.settings import NodeLimits, NodeSettings
from zenso.network.store import RecordStore

LIMITS = NodeLimits(step_seconds=10, exchange_seconds=100, exchange_bytes=2**17)
EVERY = 8  # inputs are followed by an honest synchronisation once in so many
FAULTS = {"sync", "endless", "stalled", "oversized", *map(str, Reason)}
FOLDER = Path(sys.argv.pop(1))


class Always:
    """Draws every lesson to be recomputed."""

    def random(self) -> float:
        """Return the least."""
        return 0.0


def node_of(store: RecordStore) -> NodeLoop:
    """Return a node, but for its network."""
    admission = Admission(
        store,
        RECOMPUTER,
        [DOMAIN],
        clock=lambda: NOW,
        newcomer_bits=0,
        random=Always(),  # type: ignore[arg-type]
    )
    folder = NodeFolder(FOLDER, ALICE, NodeSettings(domains=[DOMAIN], limits=LIMITS))
    answer: Any = None
    return NodeLoop(folder, store, admission, answer, lambda: None)


def opened(name: str) -> RecordStore:
    """Return a store as it was at the beginning."""
    shutil.copyfile(FOLDER / f"{name}.prepared", FOLDER / f"{name}.sqlite3")
    return RecordStore(FOLDER / f"{name}.sqlite3")


def prepare(name: str, records: list[Record]) -> None:
    """Make a store of an honest node."""
    with closing(RecordStore(FOLDER / f"{name}.prepared")) as store:
        node = node_of(store)
        for record in records:
            verdict = node._admission.offer(record.encoded, "honest", own=True)
            assert verdict.accepted, verdict


async def meet(node: NodeLoop, peer: Peer) -> None:
    """Let the node synchronise with a hostile peer."""
    began = trio.current_time()
    if peer.asks:
        await node._answer_sync(peer)
    else:
        await node._synchronise(Opened(peer), "hostile")  # type: ignore[arg-type]
    assert trio.current_time() - began <= LIMITS.exchange_seconds + 1
    assert set(node._book.refused) <= FAULTS, node._book.refused
    held = set(await node.ids(DOMAIN))
    assert held >= KEPT
    assert held <= ALLOWED


async def meet_honest(node: NodeLoop, store: RecordStore) -> None:
    """Let the node synchronise with an honest one: they hold the same, though for what came from the hostile one."""
    other = node_of(store)
    here, there = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other._answer_sync, Line(there, "node"))
        await node._synchronise(Opened(Line(here, "honest")), "honest")  # type: ignore[arg-type]
    assert set(await node.ids(DOMAIN)) >= SHARED
    assert set(await other.ids(DOMAIN)) >= SHARED


async def inline(function: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
    """Call what would be called in a thread: the clock here jumps when all tasks wait, also for a thread."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)


trio.to_thread.run_sync = inline


def one_input(data: bytes) -> None:
    """Try one input."""
    source = atheris.FuzzedDataProvider(data)
    asks, afterwards = source.ConsumeBool(), source.ConsumeIntInRange(1, EVERY) == EVERY

    async def run() -> None:
        with closing(opened("node")) as store:
            node = node_of(store)
            await meet(node, Peer(source, asks=asks, most_bytes=LIMITS.exchange_bytes))
            if afterwards:
                with closing(opened("other")) as others:
                    await meet_honest(node, others)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def check_invalid() -> None:
    """See that what is taken for invalid is refused."""
    with closing(opened("node")) as store:
        node = node_of(store)
        verdicts = [node._admission.offer(record.encoded, "honest", synced=True) for record in INVALID]
    assert not any(verdict.accepted for verdict in verdicts), verdicts
    assert len({verdict.reason for verdict in verdicts}) == len(INVALID) - 1  # two are not their creator's to change


if __name__ == "__main__":
    prepare("node", HELD)
    prepare("other", [*HELD[:40], *OTHERS])
    check_invalid()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
