import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from tests.cli.process import Result
from zenso.cli.app import app
from zenso.errors import InputError, StorageError
from zenso.server import KeyFile, Scope


@pytest.fixture
def keys(tmp_path):
    return KeyFile(tmp_path / "keys.json")


def test_a_key_is_found_by_its_text_alone(keys):
    key, text = keys.create("phone", Scope.READ)
    assert keys.find(text) == key
    for wrong in ("", "zk", "zk__", text[:-1], text + "x", text.replace(key.id, "0" * 12), text[3:], "é", "\udcff"):
        assert keys.find(wrong) is None


def test_the_file_has_no_secret_and_is_the_owners_alone(keys):
    _, text = keys.create("phone", Scope.WRITE)
    assert text.rpartition("_")[2] not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert list(keys.path.parent.glob("*.part")) == []


def test_a_revoked_key_is_unknown_and_leaves_the_door_shut(keys):
    assert not keys.are_needed
    _, text = keys.create("phone", Scope.WRITE)
    other = KeyFile(keys.path)
    other.revoke("phone")
    assert keys.find(text) is None
    assert keys.are_needed
    keys.path.unlink()
    assert keys.are_needed  # for whoever has seen the file
    assert not KeyFile(keys.path).are_needed


def test_time_ends_a_key(keys):
    key, text = keys.create("guest", Scope.READ, days=1)
    assert datetime.fromisoformat(key.expires) - datetime.now(UTC) <= timedelta(days=1)
    rows = json.loads(keys.path.read_text())
    rows["keys"][0]["expires"] = "2020-01-01T00:00:00+00:00"
    keys.path.write_text(json.dumps(rows))
    assert keys.find(text) is None
    assert keys.list()[0].is_expired


@pytest.mark.parametrize(("name", "days"), [("", None), (" ", None), ("a\nb", None), ("x" * 101, None), ("a", 0)])
def test_names_and_days_are_checked(keys, name, days):
    with pytest.raises(InputError):
        keys.create(name, Scope.READ, days)
    assert not keys.path.exists()


def test_names_are_unique_and_revoking_needs_one(keys):
    keys.create("phone", Scope.READ)
    with pytest.raises(InputError, match="already"):
        keys.create("phone", Scope.READ)
    with pytest.raises(InputError, match="zenso keys list"):
        keys.revoke("tablet")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": [{"id": 1}]}', '{"keys": [{"id": "a", "scope": "all"}]}'])
def test_a_damaged_file_is_an_error(keys, text):
    keys.path.write_text(text)
    with pytest.raises(StorageError, match="restore it"):
        keys.find("zk_a_b")


def test_scopes_include_those_below():
    assert [[one.includes(other) for other in Scope] for one in Scope] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_the_command_makes_lists_and_revokes(keys_command):
    made = keys_command("create", "phone", "--scope", "write", "--days", "30", "--json").json
    assert made["key"].startswith(f"zk_{made['id']}_")
    listed = keys_command("list", "--json")
    assert [row["name"] for row in listed.json] == ["phone"]
    assert made["key"].rpartition("_")[2] not in listed.out
    assert "phone" in keys_command("list").out
    assert keys_command("revoke", "phone", "--json").json["left"] == 0
    assert keys_command("revoke", "phone", code=1).is_one_error_line
    assert keys_command("create", "phone", "--scope", "all", code=2).err
    plain = keys_command("create", "tablet", "--scope", "read")
    assert KeyFile(keys_command.file).find(plain.out.strip()).name == "tablet"


@pytest.fixture
def keys_command(tmp_path):
    def run(command, *arguments, code=0):
        done = CliRunner().invoke(app, ["keys", command, *arguments, "--keys", str(run.file)])
        assert done.exit_code == code, done.stderr
        return Result(done.exit_code, done.stdout, done.stderr)

    run.file = tmp_path / "keys.json"
    return run
