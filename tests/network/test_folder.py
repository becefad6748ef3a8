"""The folder of a node: made once, for its owner alone, and refused where something is wrong with it."""

import stat

import pytest

pytest.importorskip("multiaddr", reason="needs zenso[network]")

from zenso.errors import InputError, StorageError
from zenso.network.folder import create_folder, read_folder
from zenso.network.settings import NodeSettings

PEER = "/ip4/192.0.2.7/tcp/7681/p2p/12D3KooWDt6QTNFsWSAkWHa5Yk2wuzGW1aJD1ZyQFf5cYVw38aeC"


def test_what_is_made_is_read_again(tmp_path):
    made = create_folder(tmp_path / "n", {"peers": [PEER], "domains": ["coding", "law"]})
    folder = read_folder(tmp_path / "n")
    assert folder.peer == made["peer"]
    assert folder.peer.startswith("12D3KooW")
    assert folder.settings == NodeSettings(peers=[PEER], domains=["coding", "law"])
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    with pytest.raises(InputError, match="there is a node"):
        create_folder(tmp_path / "n", {})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"listen": ["/ip4/here/tcp/1"]}, "no multiaddress"),
        ({"peers": ["/ip4/192.0.2.7/tcp/7681"]}, "names no peer"),
        ({"domains": ["Coding!"]}, "Coding!"),
        ({"domains": ["law", "law"]}, "twice"),
        ({"listen": []}, "listen"),
    ],
)
def test_settings_that_cannot_be_leave_nothing(tmp_path, given, said):
    with pytest.raises(InputError, match=said):
        create_folder(tmp_path / "n", given)
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peers = ['nobody']", "nobody"),
        ("[limits]\nmesages = 1", "there are: messages_per_second"),
        ("listen = 1", "listen"),
        ("x = ", "TOML"),
    ],
)
def test_a_file_that_was_edited_wrongly_is_refused_with_what_to_do(tmp_path, text, said):
    create_folder(tmp_path / "n", {})
    (tmp_path / "n" / "node.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_folder(tmp_path / "n")


def test_a_key_that_others_can_read_is_refused(tmp_path):
    create_folder(tmp_path / "n", {})
    (tmp_path / "n" / "node.pem").chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        read_folder(tmp_path / "n")


def test_a_node_runs_once(tmp_path):
    create_folder(tmp_path / "n", {})
    folder = read_folder(tmp_path / "n")
    with folder.lock(), pytest.raises(InputError, match="runs already"):
        folder.lock()
    folder.lock().close()


def test_peers_are_remembered_and_a_damaged_list_is_left_aside(tmp_path):
    create_folder(tmp_path / "n", {})
    folder = read_folder(tmp_path / "n")
    assert folder.remembered_peers() == []
    folder.remember_peers([PEER])
    assert folder.remembered_peers() == [PEER]
    (tmp_path / "n" / "peers.json").write_text('["/ip4/192.0.2.7"')
    assert folder.remembered_peers() == []
    (tmp_path / "n" / "peers.json").write_text('["/ip4/192.0.2.7"]')
    assert folder.remembered_peers() == []
