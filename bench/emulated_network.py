"""Hosts of one machine with a bad network between them: delay, loss, and partitions.

Each host is a network namespace whose only way out is a TUN device. A process of its own reads the IP packets of all
these devices and writes each to the device of the host that it is for: at once, later, or not at all. Whatever speaks
IP runs over it unchanged, here TCP with the kernel's own retransmissions. It takes Linux and root.

The process that forwards also owns the hosts: when its standard input ends, however that came about, it ends what still
runs in them and deletes them.
"""

import contextlib
import fcntl
import heapq
import json
import os
import random
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from zenso.errors import InputError

_IP = "ip"  # of iproute2
_TUN = Path("/dev/net/tun")
_SET_INTERFACE = 0x400454CA  # TUNSETIFF, of linux/if_tun.h
_PLAIN_TUN = 0x1001  # IFF_TUN | IFF_NO_PI: IP packets and nothing before them
_NAME_BYTES, _REQUEST_BYTES = 16, 40  # of struct ifreq
_SUBNET = "10.77.0"
_MTU = 1500
_DESTINATION = 19  # the last byte of the destination in a header of IPv4
_MOST_UNDERWAY = 100_000  # packets; a router too has a queue that ends
_AT_ONCE = 64  # packets read from one device before the others have their turn


class EmulatedNetwork:
    """Hosts in a network of their own; a context manager that takes them away again.

    Parameters
    ----------
    hosts : int
        1 to 200.
    seed : int
        Of the packets that are lost.

    Raises
    ------
    InputError
        This machine or user cannot do it, and why.
    """

    def __init__(self, hosts: int, seed: int = 0) -> None:
        if not 1 <= hosts <= 200:
            raise InputError(f"a network of {hosts} hosts; give 1 to 200")
        if reason := why_not():
            raise InputError(f"no network can be emulated: {reason}")
        self._names = [f"zenso{os.getpid()}-{number}" for number in range(1, hosts + 1)]
        self._seed = seed

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.emulated_network", str(self._seed), *self._names]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        if self._read() != {"ready": True}:
            self._process.wait()
            raise InputError("no network can be emulated: see above what `ip` said")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __len__(self) -> int:
        return len(self._names)

    def address(self, host: int) -> str:
        """Return the IPv4 address of a host, counted from 0."""
        return f"{_SUBNET}.{host + 1}"

    def prefix(self, host: int) -> list[str]:
        """Return what stands before a command that runs in a host."""
        return [_IP, "netns", "exec", self._names[host]]

    def change(
        self, delay_seconds: float = 0.0, loss: float = 0.0, groups: Sequence[Collection[int]] = ()
    ) -> dict[str, int]:
        """Say how the network is from now on.

        Parameters
        ----------
        delay_seconds : float
            Of each packet, one way.
        loss : float
            Share of the packets that are lost, 0 to 1.
        groups : sequence of collections of int
            Hosts of different groups do not reach each other; without any, all do.

        Returns
        -------
        dict
            Packets so far: ``forwarded``, ``lost`` (by chance), ``cut`` (between groups), ``overflowed``; and
            ``late_us``, by how much the latest of them came later than it was due, in microseconds.
        """
        assert self._process.stdin is not None
        state = {"delay": delay_seconds, "loss": loss, "groups": [sorted(group) for group in groups]}
        self._process.stdin.write(json.dumps(state) + "\n")
        self._process.stdin.flush()
        return {name: int(count) for name, count in self._read().items()}

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {}


def why_not() -> str | None:
    """Return why this machine or user can make no hosts, or None if nothing is in the way."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    try:
        os.close(os.open(_TUN, os.O_RDWR))
    except OSError as error:
        return f"{_TUN} cannot be opened ({error.strerror})"
    probe = f"zenso{os.getpid()}-0"
    try:
        subprocess.run([_IP, "netns", "add", probe], check=True, capture_output=True, text=True)
    except OSError as error:
        return f"there is no `ip` ({error.strerror}); install iproute2"
    except subprocess.CalledProcessError as error:
        return f"`ip netns add` fails: {error.stderr.strip()}"
    _remove_host(probe)
    return None


class _Forwarder:
    """Reads the packets of all devices and writes each to the one it is for, when it is due."""

    def __init__(self, devices: Sequence[int], seed: int) -> None:
        self._devices = devices
        self._random = random.Random(seed)
        self._underway: list[tuple[float, int, int, bytes]] = []  # when due, number, to whom, what
        self._number = 0
        self._delay, self._loss = 0.0, 0.0
        self._group = [0] * len(devices)
        self._counts = {"forwarded": 0, "lost": 0, "cut": 0, "overflowed": 0, "late_us": 0}

    def run(self) -> None:
        """Forward until the standard input ends."""
        selector = selectors.DefaultSelector()
        for host, device in enumerate(self._devices):
            os.set_blocking(device, False)
            selector.register(device, selectors.EVENT_READ, host)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        while True:
            wait = max(0.0, self._underway[0][0] - time.monotonic()) if self._underway else None
            for key, _ in selector.select(wait):
                if key.data is not None:
                    self._take(key.data)
                elif not self._obey():
                    return
            self._deliver()

    def _obey(self) -> bool:
        line = os.read(sys.stdin.fileno(), 65_536)  # whoever asks waits for the answer: one line
        if not line:
            return False
        state = json.loads(line)
        self._delay, self._loss = state["delay"], state["loss"]
        self._group = [0] * len(self._devices)
        for number, group in enumerate(state["groups"]):
            for host in group:
                self._group[host] = number
        print(json.dumps(self._counts), flush=True)
        self._counts["late_us"] = 0
        return True

    def _take(self, source: int) -> None:
        due = time.monotonic() + self._delay
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(self._devices[source], 65_536)
            except BlockingIOError:
                return
            host = packet[_DESTINATION] - 1 if len(packet) > _DESTINATION and packet[0] >> 4 == 4 else -1
            if not 0 <= host < len(self._devices):
                continue  # such as what IPv6 says to all neighbours
            if self._group[source] != self._group[host]:
                self._counts["cut"] += 1
            elif self._random.random() < self._loss:
                self._counts["lost"] += 1
            elif len(self._underway) >= _MOST_UNDERWAY:
                self._counts["overflowed"] += 1
            else:
                self._number += 1
                heapq.heappush(self._underway, (due, self._number, host, packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._underway and self._underway[0][0] <= now:
            due, _, host, packet = heapq.heappop(self._underway)
            self._counts["late_us"] = max(self._counts["late_us"], int(1e6 * (now - due)))
            with contextlib.suppress(OSError):  # the host's device is going
                os.write(self._devices[host], packet)
                self._counts["forwarded"] += 1


def _ip(*arguments: str) -> None:
    subprocess.run([_IP, *arguments], check=True)


def _make_host(name: str, number: int) -> int:
    """Make a namespace with a TUN device; return the device's other end."""
    _ip("netns", "add", name)
    device = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
    interface = f"z{os.getpid()}-{number}"
    assert len(interface) < _NAME_BYTES
    request = struct.pack(f"{_NAME_BYTES}sH", interface.encode(), _PLAIN_TUN).ljust(_REQUEST_BYTES, b"\0")
    fcntl.ioctl(device, _SET_INTERFACE, request)
    _ip("link", "set", interface, "netns", name)
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "address", "add", f"{_SUBNET}.{number}/24", "dev", interface)
    _ip("-n", name, "link", "set", interface, "mtu", str(_MTU), "up")
    return device


def _remove_host(name: str) -> None:
    listed = subprocess.run([_IP, "netns", "pids", name], check=False, capture_output=True, text=True)
    for process in listed.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)
    subprocess.run([_IP, "netns", "delete", name], check=False, capture_output=True)


def main() -> None:
    """Make hosts of the names given, forward between them until the standard input ends, and delete them."""
    seed, *names = sys.argv[1:]
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)  # the hosts go when whoever asked for them goes
    try:
        devices = [_make_host(name, number) for number, name in enumerate(names, 1)]
        print(json.dumps({"ready": True}), flush=True)
        _Forwarder(devices, int(seed)).run()
    finally:
        for name in names:
            _remove_host(name)


if __name__ == "__main__":
    main()
