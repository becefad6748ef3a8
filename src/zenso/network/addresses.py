"""Multiaddresses: where nodes listen, and who is there."""

import socket

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from zenso.errors import InputError


def address(text: str) -> Multiaddr:
    """Read a multiaddress.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        return Multiaddr(text)
    except (MultiaddrError, ValueError) as error:
        raise InputError(f"{text!r} is no multiaddress ({error}); give such as /ip4/127.0.0.1/tcp/7681") from None


def peer_of(text: str) -> str:
    """Return the peer id of an address.

    Raises
    ------
    InputError
        It names none.
    """
    try:
        return str(address(text).value_for_protocol("p2p"))
    except (MultiaddrError, ValueError):
        raise InputError(f"{text!r} names no peer; add /p2p/ and its id, as `zenso node keys` shows it") from None


def check_free(listen: Multiaddr) -> None:
    """See that nobody listens on an address; libp2p would share the port with whoever does.

    Raises
    ------
    InputError
        Somebody does, the address is not of this machine, or not of TCP.
    """
    try:
        family = socket.AF_INET6 if listen.protocols()[0].name == "ip6" else socket.AF_INET
        host, port = (
            listen.value_for_protocol("ip6" if family == socket.AF_INET6 else "ip4"),
            listen.value_for_protocol("tcp"),
        )
    except (MultiaddrError, ValueError, IndexError):
        raise InputError(f"{listen} cannot be listened on; give an address such as /ip4/127.0.0.1/tcp/7681") from None
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, int(port)))
        except OSError as error:
            raise InputError(
                f"{listen} cannot be listened on ({error.strerror}); choose another in node.toml"
            ) from None
