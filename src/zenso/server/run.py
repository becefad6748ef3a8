"""Run the application until it is told to end."""

import socket
import ssl
from collections.abc import Callable

import uvicorn

from zenso.errors import InputError, StorageError
from zenso.server.app import create_app
from zenso.server.observe import configure_logging
from zenso.server.settings import Settings


class _Server(uvicorn.Server):
    """Says when it listens, and when it is about to end."""

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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_end()
        await super().shutdown(sockets)


def serve(settings: Settings, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Serve until SIGINT or SIGTERM; requests that run then are finished.

    Parameters
    ----------
    settings : Settings
    on_ready : callable
        Called with the server's address once it listens; with port 0 the system has chosen one.

    Raises
    ------
    InputError
        The address cannot be used, or needs keys.
    StorageError
        A memory or the certificate cannot be used.
    """
    sock = _listen(settings)
    try:
        app = create_app(settings)
        tls = settings.tls
        if tls is not None:
            _check_certificate(str(tls.certificate), str(tls.private_key))
        config = uvicorn.Config(
            app,
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
