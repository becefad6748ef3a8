"""Vectors of several parties, some of them perhaps hostile, combined into one."""

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import Field, FiniteFloat
from starlette.responses import Response

from zenso import robust
from zenso.errors import InputError
from zenso.server.api.routing import JsonRoute, Strict, TheServices, errors
from zenso.server.errors import Dialect
from zenso.server.responses import Json

MAX_ROWS = 4096
MAX_NUMBERS = 8192  # of a row: 7,680 and some
_INT16 = np.iinfo(np.int16)

router = APIRouter(tags=["Aggregation"], route_class=JsonRoute, responses=errors(Dialect.ZENSO))
Row = Annotated[list[FiniteFloat], Field(min_length=1, max_length=MAX_NUMBERS)]


class AggregateRequest(Strict):
    """The vectors, one a party."""

    vectors: Annotated[list[Row], Field(min_length=1, max_length=MAX_ROWS, description="all of one length")]
    rule: Literal["mean", "median", "trimmed_mean", "geometric_median", "krum", "multi_krum", "centred_clipping"] = (
        "median"
    )
    f: Annotated[
        Annotated[int, Field(ge=0, le=MAX_ROWS)] | None,
        Field(description="vectors that may be hostile; as many as the rule stands without it"),
    ] = None
    weights: Annotated[
        list[Annotated[FiniteFloat, Field(ge=0)]] | None,
        Field(max_length=MAX_ROWS, description="one a vector, such as stake times quality"),
    ] = None
    mix: Annotated[bool, Field(description="replace each by the mean of those nearest to it first")] = False
    exact: Annotated[
        bool,
        Field(description="whole numbers from -32768 to 32767, combined without floats: the same bits anywhere"),
    ] = False
    outliers: Annotated[bool, Field(description="also tell how far each lies from the others; 8 at least")] = False


class OutlierReport(Strict):
    """How far each vector lies from the others."""

    scores: list[float]
    flags: list[bool]
    threshold: float


class AggregateResponse(Strict):
    """The vectors combined."""

    vector: list[float]
    rule: str
    n: int
    f: Annotated[int, Field(description="how many hostile ones were reckoned with")]
    selected: Annotated[list[int], Field(description="vectors that had a part in it")]
    exact: bool
    outliers: OutlierReport | None


@router.post("/v1/aggregate", response_model=AggregateResponse)
async def aggregate(request: AggregateRequest, services: TheServices) -> Response:
    """Combine vectors by a rule that stands hostile ones; docs/robust.md tells how many."""
    return Json(await services.run(_combined, request))


def _combined(request: AggregateRequest) -> dict[str, Any]:
    """Do the work, in a thread.

    Raises
    ------
    InputError
        The vectors differ in length or cannot be combined so, or more are hostile than the rule stands.
    """
    rows = _rows(request)
    weights = None if request.weights is None else np.array(request.weights)
    if weights is not None and request.exact and (weights == np.floor(weights)).all():
        weights = weights.astype(np.int64)
    result = robust.aggregate(rows, request.rule, f=request.f, weights=weights, mix=request.mix)
    far = robust.find_outliers(rows) if request.outliers else None
    return {
        "vector": result.vector,
        "rule": result.rule,
        "n": result.n,
        "f": result.f,
        "selected": result.selected,
        "exact": result.exact,
        "outliers": None
        if far is None
        else {"scores": far.scores, "flags": far.flags.tolist(), "threshold": far.threshold},
    }


def _rows(request: AggregateRequest) -> np.ndarray[Any, np.dtype[Any]]:
    width = len(request.vectors[0])
    for index, row in enumerate(request.vectors):
        if len(row) != width:
            raise InputError(f"vector {index} has {len(row)} numbers and vector 0 has {width}; give all the same")
    rows = np.array(request.vectors, np.float64)
    if not request.exact:
        return rows
    if (rows != np.floor(rows)).any() or rows.min() < _INT16.min or rows.max() > _INT16.max:
        raise InputError("exact vectors hold whole numbers from -32768 to 32767 only; scale them, or leave exact out")
    return rows.astype(np.int16)
