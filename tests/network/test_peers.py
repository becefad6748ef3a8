"""What peers may send, and when they are cut off."""

from zenso.network.peers import BAN_WEIGHT, LEFT, PeerBook


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def book(**given):
    clock = Clock()
    return PeerBook(**{"per_second": 10, "burst": 5, "ban_seconds": 100, **given}, clock=clock), clock


def test_a_peer_that_sends_too_much_waits_for_its_share():
    peers, clock = book()
    assert [peers.take("a") for _ in range(6)] == [True] * 5 + [False]
    assert peers.take("b")
    clock.now = 0.2
    assert [peers.take("a") for _ in range(3)] == [True, True, False]


def test_faults_add_up_to_a_ban_that_ends():
    peers, clock = book()
    assert not any(peers.fault("a", LEFT) for _ in range(100))
    faults = [peers.fault("a", "garbage") for _ in range(3)]
    assert faults == [False, False, True]
    assert peers.is_banned("a")
    assert not peers.is_banned("b")
    assert peers.refused["garbage"] == 3
    clock.now = 101
    assert not peers.is_banned("a")


def test_faults_are_forgiven_with_time():
    peers, clock = book()
    for _ in range(20):
        assert not peers.fault("a", "garbage", BAN_WEIGHT / 2 - 1)
        clock.now += 600


def test_as_many_peers_as_fit_are_remembered_the_banned_ones_first():
    peers, _ = book()
    peers.fault("bad", "garbage", BAN_WEIGHT)
    for number in range(5000):
        peers.accept(str(number))
    assert len(peers) <= 4096
    assert peers.is_banned("bad")
