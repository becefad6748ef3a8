"""A key into a cookie, for browsers, and out of it."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from zenso.server.access import COOKIE
from zenso.server.api.routing import TheServices
from zenso.server.pages.rendering import render

router = APIRouter()

_SECONDS = 30 * 24 * 3600  # that a browser keeps the key


@router.get("/login")
async def login_form(request: Request) -> Response:
    """Show the form; needs no key."""
    return render(request, "login.html", {"problem": None})


@router.post("/login")
async def login(request: Request, services: TheServices, key: Annotated[str, Form(max_length=1000)]) -> Response:
    """Keep a key that is right in a cookie that no script can read and no other site's page sends."""
    if services.keys.find(key.strip()) is None:
        problem = "This key is not known here, or its time is over."
        return render(request, "login.html", {"problem": problem}, 401)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        key.strip(),
        max_age=_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
async def logout() -> Response:
    """Forget the key."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
