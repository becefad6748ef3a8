"""Downloading one file over HTTP so that an interruption costs only what had not arrived yet."""

import http
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from zenso.models.files import SourceError, disk
from zenso.models.progress import OnProgress, Transfer

TIMEOUT_SECONDS = 30.0
ATTEMPTS_WITHOUT_PROGRESS = 3
FIRST_PAUSE_SECONDS = 0.25
USER_AGENT = "zenso"
_CHUNK = 1 << 18
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class _InterruptedError(Exception):
    """The transfer stopped before its end for a reason that may pass."""


def open_url(url: str, headers: dict[str, str], context: ssl.SSLContext | None) -> http.client.HTTPResponse:
    """Ask for a URL over HTTP or HTTPS, through the proxies of the environment.

    Raises
    ------
    SourceError
        The URL is of another kind, or is none.
    OSError, http.client.HTTPException
        As `urllib.request.urlopen` does.
    """
    if not url.startswith(("http://", "https://")):
        raise SourceError(f"{url} is not an http or https address")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, **headers})  # noqa: S310 - checked above
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context)  # noqa: S310 - checked above
    except ValueError as error:
        raise SourceError(f"{url} is not a usable address: {error}") from error
    assert isinstance(response, http.client.HTTPResponse)
    return response


def reason_of(error: BaseException) -> str:
    """Say why a request failed, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, BaseException) else error
    return str(error) or type(error).__name__


def download(
    url: str, part: Path, *, what: str, limit: int, context: ssl.SSLContext | None, on_progress: OnProgress
) -> None:
    """Download `url` to `part`, continuing what an earlier call left there.

    `part` is complete when this returns, but not verified. It stays when the connection breaks, so that the next
    call continues with an HTTP range request (RFC 9110, section 14), and as long as bytes keep arriving the connection
    is opened again here.

    Raises
    ------
    SourceError
        The server refuses, is not reached, breaks off again and again, or sends more than `limit` bytes.
    StorageError
        The disk refuses.
    """
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, what, limit, context, on_progress)
        except _InterruptedError as interruption:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS_WITHOUT_PROGRESS:
                kept = f" ({_size(part)} bytes are kept for the next attempt)" if _size(part) else ""
                raise SourceError(f"{url}: {interruption}{kept}") from interruption
            time.sleep(FIRST_PAUSE_SECONDS * 2**failures)
        else:
            return


def _size(path: Path) -> int:
    with disk(path):
        return path.stat().st_size if path.exists() else 0


def _receive(
    url: str, part: Path, what: str, limit: int, context: ssl.SSLContext | None, on_progress: OnProgress
) -> None:
    """Make one request and write what arrives."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = open_url(url, headers, context)
    except urllib.error.HTTPError as error:
        with error:
            _explain_refusal(error, url, part, have)
        return
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.URLError) and isinstance(error.reason, ssl.SSLCertVerificationError):
            raise SourceError(f"{url}: {reason_of(error)}") from error
        raise _InterruptedError(reason_of(error)) from error
    with response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise SourceError(f"{url}: the server answers another range than the one asked for")
        else:
            have = 0
        length = response.length
        total = None if length is None else have + length
        _write(response, part, have, total, limit, lambda done: on_progress(Transfer(what, done, total)))


def _explain_refusal(error: urllib.error.HTTPError, url: str, part: Path, have: int) -> None:
    """Return if the refusal means that all bytes are here already; raise otherwise."""
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        with disk(part):
            part.unlink()
        raise _InterruptedError("what an earlier attempt left is not the start of this file") from error
    if error.code in _TRANSIENT:
        raise _InterruptedError(reason_of(error)) from error
    raise SourceError(f"{url}: {reason_of(error)}") from error


def _write(
    response: http.client.HTTPResponse,
    part: Path,
    have: int,
    total: int | None,
    limit: int,
    tell: Callable[[int], None],
) -> None:
    with disk(part), part.open("r+b" if have else "wb") as output:
        output.seek(have)
        output.truncate()
        while True:
            tell(have)
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _InterruptedError(reason_of(error)) from error
            if not chunk:
                break
            have += len(chunk)
            if have > limit:
                raise SourceError(f"{response.url} sends more than the {limit} bytes that were expected at most")
            output.write(chunk)
    if total is not None and have < total:
        raise _InterruptedError(f"the connection closed after {have} of {total} bytes")
