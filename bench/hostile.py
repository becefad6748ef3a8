"""Hostile nodes in a network of processes: what of theirs is taken, what of honest nodes is lost, and what is found.

Honest nodes are `zenso node start`, and have shared lessons and votes for a while. Then, for each attack, they are
started as they were then, hostile peers of another process connect with all of them and attack, and meanwhile honest
users go on: they submit the rest of the lessons. Lessons are passages of a retrieval set, and queries ask for them.
"""

import argparse
import json
import math
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Self

import numpy as np

from bench.hostile_records import PROVABLE, RECORDS, Known
from bench.lessons import MOST_COSINE
from bench.node_process import NodeProcess
from bench.report import Scalar, progress
from bench.retrieval_sets import DATA
from bench.server_process import free_port
from zenso.errors import InputError
from zenso.evaluation.retrieval_set import read_retrieval_set
from zenso.network import Recomputer, Record, parse_id
from zenso.network.admission import CUT_OFF
from zenso.network.work import NEWCOMER_BITS
from zenso.robust import Reputation
from zenso.zen import load_encoder

HONEST, QUICK_HONEST = 7, 3
LESSONS, QUICK_LESSONS = 140, 12
SHARES = (30, 49)  # percent of the peers that are hostile
PER_PEER, QUICK_PER_PEER = 20, 5  # records that each hostile peer has
_QUERIES = 36
_PER_SECOND = 5.0  # of each hostile peer to each node
_FLOOD = 10_000.0  # a second, in all
_LATER = 0.3  # of the lessons are submitted under attack
_VOTES = 6  # of each honest user before an attack, and after it, at most
_ASKED = 3  # nodes whose users search
_K = 5
_CHARACTERS = 1000
_LIMITS = {"sync_seconds": 3}
_MEETING_SECONDS, _SETTLING_SECONDS = 180.0, 180.0
_RECALLS = ("recall_at_5", "recall_at_5_voted")
_CLEAN = (  # what is reported of the clean run too
    *_RECALLS,
    "honest_submitted",
    "honest_refused",
    "honest_missing",
    "cpu_share_mean",
    "cpu_share_max",
    "memory_mb_max",
    "seconds",
)
_IDLE = 0.25  # of a processor; a node that does less has nothing left to do


@dataclass(frozen=True)
class _Task:
    """Lessons, and queries with the lessons that answer them. Users vote after the even queries; the odd are judged."""

    lessons: list[str]
    queries: list[tuple[str, list[str]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    folder = DATA / "nq_utd"
    parser.add_argument("--nodes", type=int, metavar="N", help=f"honest ones ({HONEST}; with --quick {QUICK_HONEST})")
    parser.add_argument("--lessons", type=int, metavar="N", help=f"of honest users ({LESSONS})")
    parser.add_argument("--attack", action="append", choices=list(RECORDS), help="only this one; again for more")
    parser.add_argument("--share", action="append", type=int, choices=SHARES, help="only this percentage")
    parser.add_argument("--data", type=Path, default=folder, metavar="FOLDER", help=f"in the BEIR layout ({folder})")


def run(options: argparse.Namespace) -> dict[str, Scalar]:
    """Measure; the keys are documented in README.md."""
    honest = options.nodes or (QUICK_HONEST if options.quick else HONEST)
    lessons = options.lessons or (QUICK_LESSONS if options.quick else LESSONS)
    if honest < 2 or lessons < 2 * honest:
        raise InputError(f"--nodes {honest} and --lessons {lessons}: at least 2 nodes, and 2 lessons of each")
    hostile = {share: math.floor(honest * share / (100 - share)) for share in options.share or SHARES}
    attacks = options.attack or list(RECORDS)
    per_peer = QUICK_PER_PEER if options.quick else PER_PEER
    recomputer = Recomputer(load_encoder())
    task = _choose(options.data, recomputer, lessons)
    values: dict[str, Scalar] = {
        "dataset": options.data.resolve().name,
        "lessons": len(task.lessons),
        "queries": len(task.queries[1::2]),
        "honest": honest,
        **{f"hostile_{share}": hostile.get(share) for share in SHARES},
        "work_bits": NEWCOMER_BITS,
    }
    with _Network(honest, task) as network, progress() as bars:
        bar = bars.add_task("attacks", total=1 + len(attacks) * len(hostile))
        (clean,) = network.measure([_Attack([])])
        values |= {f"clean_{name}": clean[name] for name in _CLEAN}
        bars.advance(bar)
        known = Known(recomputer, task.lessons, task.queries, [parse_id(one) for one in network.ids.values()])
        # What is proven wrong leaves nothing behind, so such attacks may follow one another in one network.
        lasting = [[name] for name in attacks if name not in PROVABLE]
        for together in filter(None, [[name for name in attacks if name in PROVABLE], *lasting]):
            made = {name: RECORDS[name](known, max(hostile.values()) * per_peer) for name in together}
            for share, peers in hostile.items():
                several = [
                    _Attack(
                        [made[name][per_peer * peer : per_peer * (peer + 1)] for peer in range(peers)],
                        _FLOOD if name == "flood" else None,
                    )
                    for name in together
                ]
                for name, found in zip(together, network.measure(several), strict=True):
                    of_clean = {f"{key}_of_clean": _ratio(found[key], clean[key]) for key in _RECALLS}
                    values |= {f"{name}_{share}_{key}": value for key, value in (found | of_clean).items()}
                    bars.advance(bar)
    return values


def _ratio(found: Scalar, clean: Scalar) -> float | None:
    return float(found) / float(clean) if found is not None and clean else None


def _choose(folder: Path, recomputer: Recomputer, count: int) -> _Task:
    """Take queries, and of each the answers, until there are enough that are no near-duplicates of one another."""
    data = read_retrieval_set(folder)
    texts = dict(zip(data.document_ids, data.documents, strict=True))
    step = max(1, len(data.queries) // _QUERIES)
    task = _Task([], [])
    kept = np.zeros((0, 384), np.int64)
    for query_id, query in list(zip(data.query_ids, data.queries, strict=True))[::step]:
        answers = []
        for one in data.judgements:
            text = texts.get(one.document_id, "")[:_CHARACTERS].strip()
            if one.query_id != query_id or one.grade < 1 or not text or len(task.lessons) == count:
                continue
            vector = recomputer.encoder.encode_vectors([text])[0].astype(np.int64)
            if (kept @ vector).max(initial=0) > MOST_COSINE * 32_767**2:
                continue
            kept = np.vstack([kept, vector])
            task.lessons.append(text)
            answers.append(text)
        if answers:
            task.queries.append((query, answers))
    np.random.default_rng(0).shuffle(task.lessons)
    return task


@dataclass(frozen=True)
class _Attack:
    """The records of each hostile peer, and the messages a second of a flood."""

    parts: Sequence[Sequence[Record]]
    flood: float | None = None


class _Network:
    """Honest nodes that are started again as they were before any attack."""

    def __init__(self, count: int, task: _Task) -> None:
        later = max(1, round(len(task.lessons) * _LATER))
        self._before, self._later = task.lessons[:-later], task.lessons[-later:]
        self._count, self._task = count, task
        self._stack = ExitStack()
        self.nodes: list[NodeProcess] = []
        self.ids: dict[str, str] = {}  # of lessons that are there before, by text

    def __enter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            for number in range(self._count):
                peers = [node.address for node in self.nodes[-3:]]
                node = NodeProcess(
                    folder / str(number), peers, listen=f"/ip4/127.0.0.1/tcp/{free_port()}", limits=_LIMITS
                )
                self._stack.callback(node.close)
                self.nodes.append(node)
            self._meet()
            refused: Counter[str] = Counter()
            for number, text in enumerate(self._before):
                self.ids |= _submitted(self.nodes[number % self._count], text, refused)
            if refused:
                printed = next((node.printed[-500:] for node in self.nodes if not node.runs), "")
                raise InputError(f"refused before anything was hostile: {dict(refused)} {printed}")  # noqa: TRY301
            self._settle()
            self._vote()
            self._settle()
            self.peers = {node.status()["peer"] for node in self.nodes}
            self._all(NodeProcess.close)
            for node in self.nodes:
                shutil.copytree(node.folder, _kept(node))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, attacks: Sequence[_Attack]) -> list[dict[str, Scalar]]:
        """Start anew; let hostile peers attack, in one way after the other, and honest users go on; and measure."""
        for node in self.nodes:
            shutil.rmtree(node.folder)
            shutil.copytree(_kept(node), node.folder)
        self._all(NodeProcess.start)
        try:
            self._meet()
            found, ids = [], dict(self.ids)
            for number, attack in enumerate(attacks):
                with _operator(self.nodes, attack) as operator:
                    texts, is_last = self._later[number :: len(attacks)], number == len(attacks) - 1
                    found.append(self._attacked(operator, attack.parts, texts, ids, is_last=is_last))
            return found
        finally:
            self._all(NodeProcess.close)

    def _attacked(
        self,
        operator: "_Operator",
        parts: Sequence[Sequence[Record]],
        texts: Sequence[str],
        ids: dict[str, str],
        *,
        is_last: bool,
    ) -> dict[str, Scalar]:
        refused: Counter[str] = Counter()
        before = sum((Counter(node.status()["refused"]) for node in self.nodes), Counter())
        busy = [node.processor_seconds for node in self.nodes]
        watch = _Watch(self.nodes, self.peers, operator.peers, parts)
        operator.begin()
        attacked = max([len(part) for part in parts], default=0) / _PER_SECOND
        for number, text in enumerate(texts):
            ids.update(_submitted(self.nodes[number % self._count], text, refused))
            watch.look()
            watch.sleep_until(attacked * (number + 1) / len(texts))
        self._settle(watch.look)
        seconds = watch.seconds
        share = [(node.processor_seconds - before) / seconds for node, before in zip(self.nodes, busy, strict=True)]
        held = watch.held()
        recalls: dict[str, Scalar] = dict.fromkeys(_RECALLS)
        if is_last:  # before, not all lessons are there that the clean run has
            recalls["recall_at_5"] = self._recall()
            self._vote()
            self._settle(watch.look)
            recalls["recall_at_5_voted"] = self._recall()
        missing = sum(len(set(map(parse_id, ids.values())) - _ids(node)) for node in self.nodes)
        statuses = [node.status() for node in self.nodes]
        reasons = sum((Counter(status["refused"]) for status in statuses), Counter()) - before
        return {
            "hostile_offered": len({record.id for part in parts for record in part}),
            "hostile_messages": operator.end(),
            "hostile_held_most": watch.held_most,
            "hostile_held": held,
            **watch.cut_off(),
            "honest_submitted": len(texts),
            "honest_refused": refused.total(),
            "honest_missing": missing,
            "refused": ", ".join(f"{reason} {number}" for reason, number in reasons.most_common(6)),
            "disputes": fmean(_rows(node, "operation").count("dispute") for node in self.nodes),
            "restarts": sum(status["counts"].get("restarts", 0) for status in statuses),
            **recalls,
            "cpu_share_mean": fmean(share),
            "cpu_share_max": max(share),
            "memory_mb_max": watch.memory_mb_max,
            "seconds": seconds,
        }

    def _all(self, action: Callable[[NodeProcess], None]) -> None:
        """Start or end all nodes at once."""
        with ThreadPoolExecutor(self._count) as pool:
            list(pool.map(action, self.nodes))

    # --- honest users -----------------------------------------------------------------------------------------------

    def _recall(self) -> float:
        """Return which share of what could be among the first five honest users find there; texts shown count only."""
        found = [
            len({one["text"] for one in node.ask("search", query=query, k=_K)["experiences"]} & set(answers))
            / min(_K, len(answers))
            for node in self.nodes[:_ASKED]
            for query, answers in self._task.queries[1::2]
        ]
        return fmean(found)

    def _vote(self) -> None:
        """Let each user ask some of the other queries, and vote for what helps and against what misleads."""
        asked = self._task.queries[::2]
        honest = set(self._task.lessons)
        for number, node in enumerate(self.nodes):
            own = node.status()["creator"]
            voted = 0
            for query, answers in asked[number % len(asked) :: self._count]:
                for one in node.ask("search", query=query, k=_K)["experiences"]:
                    helps, misleads = one["text"] in answers, one["text"] not in honest
                    if voted < _VOTES and (helps or misleads) and own not in _creators(node, one["id"]):
                        node.ask("vote", target=one["id"], vote=1 if helps else -1)
                        voted += 1

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Wait until all nodes have peers and gossip has made its meshes."""
        deadline = time.monotonic() + _MEETING_SECONDS
        while any(not node.status()["peers"] for node in self.nodes):
            if time.monotonic() > deadline:
                raise InputError(f"honest nodes have not met in {_MEETING_SECONDS:g} s")
            time.sleep(0.2)
        time.sleep(2)

    def _settle(self, look: Callable[[], None] = lambda: None) -> None:
        """Wait until nothing changes, and nodes are idle: all texts that came are embedded."""
        deadline, before = time.monotonic() + _SETTLING_SECONDS, None
        while time.monotonic() < deadline:
            counts, busy = [node.count() for node in self.nodes], [node.processor_seconds for node in self.nodes]
            if before is not None and counts == before[0]:
                spent = [now - then for now, then in zip(busy, before[1], strict=True)]
                if max(spent) < _IDLE:
                    return
            before = counts, busy
            time.sleep(1)
            look()


class _Operator:
    """The process of the hostile peers."""

    def __init__(self, process: "subprocess.Popen[str] | None", peers: list[str]) -> None:
        self._process, self.peers = process, peers

    def begin(self) -> None:
        """Attack."""
        if self._process is not None:
            self._say()

    def end(self) -> int:
        """Stop; return how many messages were sent."""
        if self._process is None:
            return 0
        self._say()
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def _say(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()


@contextmanager
def _operator(nodes: Sequence[NodeProcess], attack: _Attack) -> Iterator[_Operator]:
    """Start hostile peers, and wait until they are connected with all nodes."""
    if not attack.parts:
        yield _Operator(None, [])
        return
    plan = {
        "targets": [node.address for node in nodes],
        "peers": [[record.encoded.hex() for record in part] for part in attack.parts],
        "per_second": _PER_SECOND,
        "flood": attack.flood,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan, file)
        file.flush()
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "bench.hostile_peers", file.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    raise InputError("the hostile peers could not be started")
                yield _Operator(process, json.loads(line))
            finally:
                process.kill()


class _Watch:
    """What is seen of an attack from outside: records of hostile keys, and who is cut off."""

    def __init__(
        self, nodes: Sequence[NodeProcess], honest: set[str], hostile: list[str], parts: Sequence[Sequence[Record]]
    ) -> None:
        self._nodes, self._honest, self._hostile = nodes, honest, set(hostile)
        self._keys: dict[bytes, float] = {}  # of hostile creators: seconds from the beginning to their first record
        for part in parts:
            for number, record in enumerate(part):
                self._keys.setdefault(record.creator, number / _PER_SECOND)
        self._began = time.monotonic()
        self._peers: dict[tuple[int, str], float] = {}
        self._honest_peers: set[tuple[int, str]] = set()
        self._key_seconds: dict[tuple[int, bytes], float] = {}
        self.held_most = 0
        self.memory_mb_max = 0.0

    @property
    def seconds(self) -> float:
        """Since the attack began."""
        return time.monotonic() - self._began

    def sleep_until(self, seconds: float) -> None:
        """Wait for a time of the attack."""
        time.sleep(max(0.0, seconds - self.seconds))

    def held(self) -> float:
        """Return how many records of hostile keys a node holds, in the mean."""
        return fmean(self._held())

    def look(self) -> None:
        """Look at all nodes."""
        self.held_most = max(self.held_most, *self._held())
        for number, node in enumerate(self._nodes):
            self.memory_mb_max = max(self.memory_mb_max, node.memory_mb)
            banned = {peer["peer"] for peer in node.ask("peers") if peer["banned_seconds"] > 0}
            for peer in banned & self._hostile:
                self._peers.setdefault((number, peer), self.seconds)
            self._honest_peers |= {(number, peer) for peer in banned & self._honest}
            for key, reputation in _reputations(node).items():
                if key in self._keys and reputation.score(time.time()) < CUT_OFF:
                    self._key_seconds.setdefault((number, key), max(0.0, self.seconds - self._keys[key]))

    def cut_off(self) -> dict[str, Scalar]:
        """Return how many peers and keys are cut off, of all pairs of them with a node, and after how long."""
        peers, keys = len(self._hostile) * len(self._nodes), len(self._keys) * len(self._nodes)
        return {
            "peers_cut_off": len(self._peers) / peers if peers else None,
            "peers_cut_off_seconds": median(self._peers.values()) if self._peers else None,
            "keys_cut_off": len(self._key_seconds) / keys if keys else None,
            "keys_cut_off_seconds": median(self._key_seconds.values()) if self._key_seconds else None,
            "honest_cut_off": len(self._honest_peers),
        }

    def _held(self) -> list[int]:
        return [sum(creator in self._keys for creator in _rows(node, "creator")) for node in self._nodes]


def _submitted(node: NodeProcess, text: str, refused: Counter[str]) -> dict[str, str]:
    """Submit a lesson; return its id by its text, or nothing where it was refused, and count that."""
    try:
        return {text: node.ask("submit", text=text, confidence=0.8)["id"]}
    except InputError as error:
        refused[str(error)[:80]] += 1
        return {}


def _rows(node: NodeProcess, column: str, where: str = "", *values: bytes) -> list[Any]:
    with closing(sqlite3.connect(f"file:{node.records_path}?mode=ro", uri=True, timeout=30)) as connection:
        return [row[0] for row in connection.execute(f"SELECT {column} FROM records {where}", values)]  # noqa: S608


def _ids(node: NodeProcess) -> set[bytes]:
    return set(_rows(node, "id"))


def _creators(node: NodeProcess, record_id: str) -> list[str]:
    return [creator.hex() for creator in _rows(node, "creator", "WHERE id = ?", parse_id(record_id))]


def _reputations(node: NodeProcess) -> dict[bytes, Reputation]:
    """Return those of keys."""
    with closing(sqlite3.connect(f"file:{node.records_path}?mode=ro", uri=True, timeout=30)) as connection:
        rows = connection.execute("SELECT subject, good, bad, at FROM reputations WHERE subject LIKE 'key:%'")
        return {bytes.fromhex(subject[4:]): Reputation(good, bad, at) for subject, good, bad, at in rows}


def _kept(node: NodeProcess) -> Path:
    return node.folder.with_name(f"{node.folder.name}-kept")
