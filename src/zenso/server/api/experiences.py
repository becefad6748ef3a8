"""Experiences of the network, by the node that runs beside the server."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from zenso.server.api.routing import JsonRoute, Strict, TheServices, errors
from zenso.server.errors import Dialect
from zenso.server.responses import Json

router = APIRouter(tags=["Network"], route_class=JsonRoute, responses=errors(Dialect.ZENSO))

MOST_RESULTS = 100
MOST_LISTED = 1000
Id = Annotated[str, Field(min_length=1, max_length=100, description="as a search gives it")]
Domain = Annotated[str | None, Field(max_length=63, description="the first that the node follows, when left out")]
Share = Annotated[float, Field(ge=0, le=1)]


class NewExperience(Strict):
    """One lesson, with what is needed to understand it alone."""

    text: Annotated[str, Field(min_length=1, max_length=4000)]
    domain: Domain = None
    confidence: Annotated[Share, Field(description="how sure its creator is")] = 0.5
    source_model: Annotated[str, Field(max_length=200, description="what it was learned with")] = ""
    replaces: Annotated[
        list[Id], Field(max_length=16, description="own ones whose place it takes", default_factory=list)
    ]


class SentRecord(Strict):
    """A record that this node accepted and sent to its peers."""

    id: str
    domain: str
    peers: Annotated[int, Field(description="that are connected now; others catch up")]


class StoredExperience(Strict):
    """An experience that the node holds."""

    id: str
    text: str
    domain: str
    confidence: float
    source_model: str
    creator: Annotated[str, Field(description="Ed25519 key, hexadecimal")]
    created_at: Annotated[int, Field(description="milliseconds since 1970, UTC")]


class ExperienceList(Strict):
    """Experiences, the latest first."""

    experiences: list[StoredExperience]
    total: int


class ExperienceQuery(Strict):
    """What to look for."""

    query: Annotated[str, Field(min_length=1)]
    domain: Annotated[str | None, Field(max_length=63, description="all that the node follows, when left out")] = None
    k: Annotated[int, Field(ge=1, le=MOST_RESULTS, description="most results")] = 5
    min_confidence: Annotated[Share, Field(description="of the results")] = 0.0


class FoundExperience(Strict):
    """An experience that answers a query, or several that say nearly the same."""

    id: str
    text: str
    domain: str
    score: Annotated[float, Field(description="by which they are ordered")]
    similarity: Annotated[float, Field(description="to the query, 0 to 1")]
    confidence: Annotated[float, Field(description="0 to 1, as the creators say")]
    support: Annotated[float, Field(description="standings of the keys that wrote it or voted for it, summed")]
    opposition: Annotated[float, Field(description="of those that voted against it")]
    creators: Annotated[int, Field(description="distinct keys that wrote it")]
    merged: Annotated[list[str], Field(description="ids of the others that say nearly the same")]


class FoundExperiences(Strict):
    """The best first, and the same as numbered lessons to put into a prompt."""

    experiences: list[FoundExperience]
    prompt: str


class NewVote(Strict):
    """Whether an experience helped, or misled."""

    helped: bool


class DomainStatus(Strict):
    """What the node holds of a domain; equal digests are equal sets of records."""

    records: int
    experiences: int
    digest: str


class ModelStatus(Strict):
    """The model that the node judges records with; until it is loaded it takes none."""

    name: str
    loaded: bool
    problem: Annotated[str | None, Field(description="why it could not be loaded; it is tried again")]
    what: Annotated[str | None, Field(description="the file that is being fetched or made")]
    done: int | None
    total: int | None


class NetworkStatus(Strict):
    """The node, its peers, and what it refused and why."""

    peer: str
    creator: str
    addresses: list[str]
    uptime_seconds: float
    peers: list[str]
    domains: dict[str, DomainStatus]
    model: ModelStatus
    refused: Annotated[dict[str, int], Field(description="by reason")]
    counts: dict[str, int]
    waiting: Annotated[int, Field(description="records that wait to be checked")]


@router.get("/v1/network/status", response_model=NetworkStatus)
async def network_status(services: TheServices) -> Response:
    """Say what the node holds, with whom it is connected, and what it refused and why."""
    return Json(await services.run(services.the_node().status))


@router.get("/v1/experiences", response_model=ExperienceList)
async def list_experiences(
    services: TheServices,
    domain: Annotated[str | None, Query(max_length=63)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
) -> Response:
    """List the experiences of a domain that stand: neither deleted, replaced nor proven wrong."""
    return Json(await services.run(services.the_node().latest, domain, limit))


@router.post("/v1/experiences", response_model=SentRecord)
async def submit_experience(request: NewExperience, services: TheServices) -> Response:
    """Sign an experience with the node's key and send it to all nodes of its domain."""
    return Json(
        await services.run(
            services.the_node().submit,
            request.text,
            request.domain,
            confidence=request.confidence,
            source_model=request.source_model,
            targets=request.replaces,
        )
    )


@router.post("/v1/experiences/search", response_model=FoundExperiences)
async def search_experiences(request: ExperienceQuery, services: TheServices) -> Response:
    """Find experiences by meaning, ranked by similarity, support from distinct reputable creators, and confidence."""
    node = services.the_node()
    return Json(
        await services.run(
            node.search, request.query, request.domain, k=request.k, min_confidence=request.min_confidence
        )
    )


@router.post("/v1/experiences/{id}/vote", response_model=SentRecord)
async def vote(id: Id, request: NewVote, services: TheServices) -> Response:  # noqa: A002
    """Say of an experience that it helped, or misled; its creator's reputation follows."""
    return Json(await services.run(services.the_node().vote, id, 1 if request.helped else -1))


@router.post("/v1/experiences/{id}/dispute", response_model=SentRecord)
async def dispute(id: Id, services: TheServices) -> Response:  # noqa: A002
    """Say that an experience's code is not that of its text: each node recomputes it."""
    return Json(await services.run(services.the_node().dispute, id))


@router.delete("/v1/experiences/{id}", response_model=SentRecord)
async def withdraw(id: Id, services: TheServices) -> Response:  # noqa: A002
    """Take an own experience away, on all nodes and for good."""
    return Json(await services.run(services.the_node().withdraw, [id]))
