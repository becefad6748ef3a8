"""How other programs of this machine speak to a running node: requests on a socket in its folder, a line of JSON each.

Whoever may open the socket may use the node: it is for the owner of the folder alone.
"""

import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from zenso.errors import InputError, StorageError, ZensoError

log = logging.getLogger("zenso.network")
SOCKET_NAME = "node.sock"
_MOST_BYTES = 1 << 20
_LONGEST_PATH = 100  # bytes; systems take 104 to 108
_SECONDS = 120.0

Answer = Callable[[str, dict[str, Any]], Awaitable[Any]]


async def serve_control(folder: Path, answer: Answer, *, task_status: trio.TaskStatus[None]) -> None:
    """Answer requests until cancelled.

    Raises
    ------
    InputError
        The folder's path is too long for a socket.
    StorageError
        The socket cannot be made.
    """
    path = folder / SOCKET_NAME
    _check_length(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)  # of a node that was killed: the folder's lock says that none runs
        listener.bind(str(path))
        listener.listen(16)
    except OSError as error:
        listener.close()
        raise StorageError(f"{path} cannot be made ({error.strerror}); choose another folder") from None
    finally:
        os.umask(before)

    async def handle(stream: trio.SocketStream) -> None:
        with trio.move_on_after(_SECONDS):
            try:
                line = await _read_line(stream)
                reply = await _reply(line, answer)
                await stream.send_all(json.dumps(reply).encode() + b"\n")
            except (trio.BrokenResourceError, ValueError):
                pass
        await stream.aclose()

    try:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
        await trio.serve_listeners(handle, listeners, task_status=task_status)
    finally:
        path.unlink(missing_ok=True)


async def _read_line(stream: trio.SocketStream) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        part = await stream.receive_some(65_536)
        if not part or len(line) + len(part) > _MOST_BYTES:
            raise ValueError("no whole request")
        line += part
    return bytes(line)


async def _reply(line: bytes, answer: Answer) -> dict[str, Any]:
    request = json.loads(line)
    try:
        return {"result": await answer(request["command"], request["arguments"])}
    except ZensoError as error:
        return {"error": str(error)}
    except Exception as error:  # a bug in one command must not end the node
        log.exception("the command %s failed", request["command"])
        return {"error": f"{type(error).__name__} in the node; see its log"}


def runs(folder: Path) -> bool:
    """Whether a node that can be asked runs in a folder."""
    path = folder / SOCKET_NAME
    _check_length(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        return sock.connect_ex(str(path)) == 0


def ask(folder: Path, command: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON
    """Ask a running node.

    Raises
    ------
    InputError
        It refuses, or no node runs in the folder.
    """
    path = folder / SOCKET_NAME
    _check_length(path)
    line = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
    if len(line) > _MOST_BYTES:
        raise InputError(f"a request of {len(line):,} bytes; at most {_MOST_BYTES:,} are taken")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_SECONDS)
        try:
            sock.connect(str(path))
            sock.sendall(line)
            with sock.makefile("rb") as reader:
                reply = reader.readline()
        except (FileNotFoundError, ConnectionRefusedError):
            raise InputError(f"no node runs in {folder}; start it with `zenso node start {folder}`") from None
        except OSError as error:
            raise InputError(f"the node in {folder} does not answer ({error}); see what it prints") from None
    if not reply.endswith(b"\n"):
        raise InputError(f"the node in {folder} ended before it answered; see what it printed")
    found = json.loads(reply)
    if "error" in found:
        raise InputError(found["error"])
    return found["result"]


def _check_length(path: Path) -> None:
    if len(os.fsencode(path)) > _LONGEST_PATH:
        message = f"{path} is longer than the {_LONGEST_PATH} bytes that a socket's path can have"
        raise InputError(f"{message}; choose a folder nearer to the root")
