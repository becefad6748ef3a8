"""Run the application until it is told to end."""

import contextlib
import logging
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator

import uvicorn

from zenso import models
from zenso.errors import InputError, StorageError
from zenso.models import OnProgress, silent
from zenso.server.app import check_keys, create_app
from zenso.server.connection import connection_class
from zenso.server.observe import configure_logging
from zenso.server.settings import Settings

_INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C
_OTHER_FILES = 200  # besides connections: memories, models, libraries


class _Server(uvicorn.Server):
    """Says when it listens and when it is about to end, and ends as other programs do: SIGTERM is no failure."""

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[str], None], address: str, on_end: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_end = on_end
        self._on_ready = on_ready
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready(self._address)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.force_exit:
            # Threads that still work would be waited for; what they have acknowledged is on the disk.
            logging.shutdown()
            os._exit(_INTERRUPTED)
        if signal.SIGINT in self._captured_signals:
            raise KeyboardInterrupt

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_end()
        await super().shutdown(sockets)


def serve(
    settings: Settings, on_ready: Callable[[str], None] = lambda _: None, on_progress: OnProgress = silent
) -> None:
    """Serve until SIGINT or SIGTERM; requests that run then are finished, unless SIGINT comes once more.

    Parameters
    ----------
    settings : Settings
    on_ready : callable
        Called with the server's address once it listens; with port 0 the system has chosen one.
    on_progress : callable
        Told of the fetches of models.

    Raises
    ------
    InputError
        The address cannot be used, or needs keys.
    StorageError
        A memory or the certificate cannot be used.
    ModelError, IntegrityError
        A model cannot be used.
    KeyboardInterrupt
        It was SIGINT, and everything is closed.
    """
    check(settings)
    sock = _listen(settings)
    tls = settings.tls
    try:
        _allow_files(settings.limits.connections)
        app = create_app(settings, on_progress)
        config = uvicorn.Config(
            app,
            http=connection_class(settings.limits),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.limits.shutdown_seconds),
            timeout_keep_alive=60,
            ssl_certfile=str(tls.certificate) if tls else None,
            ssl_keyfile=str(tls.private_key) if tls else None,
        )
        configure_logging(settings.logging)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{'https' if tls else 'http'}://{host}:{sock.getsockname()[1]}"
        _Server(config, on_ready, address, app.state.services.ending.set).run(sockets=[sock])
    finally:
        sock.close()


def check(settings: Settings) -> None:
    """Find out what would keep a server from starting, besides its address and its memories.

    Raises
    ------
    InputError
        Strangers could come in.
    ModelError
        The model is unknown.
    StorageError
        The keys or the certificate cannot be used.
    """
    models.lookup(settings.model)
    check_keys(settings)
    if settings.tls is not None:
        _check_certificate(str(settings.tls.certificate), str(settings.tls.private_key))


def _allow_files(connections: int) -> None:
    """Take as many open files as the connections need, as far as the system lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _listen(settings: Settings) -> socket.socket:
    """Take the address before anything is loaded, so that a second server is told at once."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        reason = error.strerror or error
        message = f"{settings.host}:{settings.port} cannot be listened on ({reason}); choose another --host or --port"
        raise InputError(message) from None
    return sock


def _check_certificate(certificate: str, private_key: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        message = f"the certificate {certificate} and the key {private_key} cannot be used ({error})"
        raise StorageError(f"{message}; give PEM files that belong together") from None
