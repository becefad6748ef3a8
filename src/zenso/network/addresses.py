"""Multiaddresses: where nodes listen, and who is there."""

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
