"""Indexing: add texts and files here, and see what comes into the memories, from here and from elsewhere."""

import asyncio
import itertools
import json
import re
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from blake3 import blake3
from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import RedirectResponse, Response, StreamingResponse

from zenso.errors import ZensoError
from zenso.memory import Memory
from zenso.memory.ingest import Chunker, IndexProgress, IndexReport
from zenso.memory.ingest.batches import MAX_TOKENS, OVERLAP, Batches, Pending
from zenso.memory.ingest.indexer import read_update
from zenso.server.api.routing import TheCaller, TheServices
from zenso.server.batching import CancelledError
from zenso.server.errors import RequestError
from zenso.server.keys import Scope
from zenso.server.pages.choices import TheChoice
from zenso.server.pages.rendering import render, wants_page
from zenso.server.responses import Json
from zenso.server.services import Services

router = APIRouter()

_KEPT = 20  # jobs that are shown
_MOST_FILES = 1000
_TEXT_BYTES = 16 * 2**20
_EVERY = 0.5  # seconds between two looks
_SILENCE = 10.0  # seconds after which a stream says that it lives
_PARAGRAPHS = re.compile(r"\n\s*\n")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")


@dataclass
class Job:
    """What one request adds; ``size`` counts characters of texts and bytes of files."""

    number: int
    memory: str
    what: str
    size: int = 0
    total: int = 1
    chunks: int = 0
    state: str = "running"  # then done, failed or given up
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.state != "running"


class Jobs:
    """The latest jobs of a server, the newest first."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque(maxlen=_KEPT)
        self._numbers = itertools.count(1)

    def start(self, memory: str, what: str) -> Job:
        """Begin to show a job."""
        job = Job(next(self._numbers), memory, what)
        self._jobs.appendleft(job)
        return job

    def list(self) -> list[Job]:
        """Return them."""
        return list(self._jobs)


def _jobs(request: Request) -> Jobs:
    state = request.app.state
    if not hasattr(state, "jobs"):
        state.jobs = Jobs()
    jobs: Jobs = state.jobs
    return jobs


TheJobs = Annotated[Jobs, Depends(_jobs)]


@router.get("/indexing")
async def indexing(request: Request, services: TheServices, choice: TheChoice, jobs: TheJobs) -> Response:
    """Show the form, and how far everything is."""
    state = await services.run(_state, services, jobs)
    return render(request, "indexing.html", {"chosen": choice.name, "state": state})


@router.get("/indexing/events")
async def events(services: TheServices, jobs: TheJobs) -> Response:
    """Tell what changes, as it changes, as server-sent events."""

    async def stream() -> AsyncIterator[str]:
        last, told = "", 0.0
        yield "retry: 1000\n\n"
        while not services.ending.is_set():
            now = json.dumps(await run_in_threadpool(_state, services, jobs), ensure_ascii=False)
            if now != last:
                yield f"data: {now}\n\n"
                last, told = now, time.monotonic()
            elif time.monotonic() - told > _SILENCE:
                yield ": still here\n\n"
                told = time.monotonic()
            await asyncio.sleep(_EVERY)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.post("/indexing/import")
async def add(request: Request, services: TheServices, caller: TheCaller, jobs: TheJobs) -> Response:
    """Add the texts and files of a form; the answer comes when all of it is stored."""
    caller.require(Scope.WRITE)
    async with request.form(max_files=_MOST_FILES, max_part_size=_TEXT_BYTES) as form:
        name = str(form.get("memory", ""))
        memory = services.memory(name)
        texts = [part.strip() for part in _PARAGRAPHS.split(str(form.get("texts", ""))) if part.strip()]
        files = [one for one in form.getlist("files") if isinstance(one, UploadFile) and one.filename]
        if not texts and not files:
            raise RequestError(400, "there is nothing to add; write a text, or choose a file", "invalid_request")
        job = jobs.start(name, _describe(texts, files))
        try:
            await services.run(_run, job, memory, texts, files)
        except asyncio.CancelledError:
            job.state = "given up"
            raise
    if wants_page(request):
        return RedirectResponse("/indexing?" + urlencode({"memory": name}), 303)
    return Json(asdict(job))


def _state(services: Services, jobs: Jobs) -> dict[str, object]:
    memories = {}
    for name, memory in services.memories.items():
        info = memory.info()
        memories[name] = {"documents": info.documents, "generation": info.generation, "sources": info.sources}
    return {"memories": memories, "jobs": [asdict(job) for job in jobs.list()]}


def _describe(texts: Sequence[str], files: Sequence[UploadFile]) -> str:
    parts = [f"{len(texts)} text{'s' if len(texts) != 1 else ''}"] if texts else []
    if len(files) > 1:
        parts.append(f"{len(files)} files")
    elif files:
        parts.append(_name(files[0]))
    return " and ".join(parts)


def _name(file: UploadFile) -> str:
    return (file.filename or "file")[-200:]


def _run(job: Job, memory: Memory, texts: Sequence[str], files: Sequence[UploadFile]) -> None:
    """Do a job to its end; what goes wrong is told by the job as well."""
    began = time.monotonic()
    characters = sum(map(len, texts))
    job.total = max(1, characters + sum(file.size or 0 for file in files))
    try:
        if texts:
            done = iter(texts)

            def advance(count: int) -> None:
                job.size += sum(len(text) for text in itertools.islice(done, count))
                job.chunks += count

            memory.add(texts, on_progress=advance)
            job.size, job.chunks = characters, len(texts)
        if files:
            _add_files(job, memory, files)
        job.size = job.total
        job.state = "done"
    except CancelledError:
        job.state = "given up"
        raise
    except ZensoError as error:
        job.state = "failed"
        job.notes.append(str(error))
        raise
    finally:
        job.seconds = round(time.monotonic() - began, 2)
        if not job.is_over:
            job.state = "failed"


def _add_files(job: Job, memory: Memory, files: Sequence[UploadFile]) -> None:
    size, chunks = job.size, job.chunks

    def tell(progress: IndexProgress) -> None:
        job.size, job.chunks = size + progress.size, chunks + progress.chunks

    report = IndexReport()
    batches = Batches(memory, report, tell)
    batches.total_items, batches.total_size = len(files), sum(file.size or 0 for file in files)
    chunker = Chunker(memory.encoder.splitting_tokenizer, MAX_TOKENS, OVERLAP)
    known = {source.path for source in memory.sources()}
    with tempfile.TemporaryDirectory(prefix="zenso-upload-") as folder:
        for file in files:
            name = _name(file)
            suffix = Path(name).suffix
            path = Path(folder) / f"file{suffix if _SUFFIX.fullmatch(suffix) else ''}"
            data = file.file.read()
            path.write_bytes(data)
            source = f"upload:{name}"
            update = read_update(path, source, f"upload/1 {blake3(data).hexdigest()}", chunker, report)
            for skipped in report.skipped:
                job.notes.append(f"{name}: {skipped.reason}")
            report.skipped.clear()
            if update is None:
                batches.pass_over(1, len(data), name)
            else:
                batches.put(Pending(update, source not in known, 1, len(data)))
        batches.flush()
    job.notes += [f"{skipped.path}: {skipped.reason}" for skipped in report.skipped]
