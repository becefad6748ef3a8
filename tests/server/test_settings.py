import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zenso.cli.app import app
from zenso.errors import InputError, StorageError
from zenso.server import Settings, check, load_settings
from zenso.server.settings import Limits, is_loopback

EXAMPLE = Path(__file__).parents[2] / "docs/zenso.toml"


@pytest.fixture
def load(tmp_path):
    def load(text, **given):
        (tmp_path / "zenso.toml").write_text(text)
        return load_settings(tmp_path / "zenso.toml", **given)

    return load


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "there is no setting prot; did you mean port?"),
        ("[limits]\nbody = 1", "there is no setting limits.body; there are: body_bytes"),
        ("[tls]\ncert = 'a'", "tls.certificate is missing; add it"),
        ("[tls]\ncertificate = 'a'\nprivate_key = 'b'\npassword = 'c'", "no setting tls.password"),
        ("port = 70000", "port is 70000: it should be less than or equal to 65535"),
        ("[limits]\nqueued_tokens = 'many'", "limits.queued_tokens is 'many': it should be a valid integer"),
        ("[logging]\nlevel = 'all'", "logging.level is 'all': it should be 'debug', 'info'"),
        ("cors_origins = ['example.org']", "'example.org' is no origin; give such as https://example.org"),
        ("hosts = ['https://example.org']", "is no host; give a name such as"),
        ("[memories]\n'../x' = 'a'", "memories.../x is '../x'"),
        ("port = ", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_a_remedy(load, text, said):
    with pytest.raises(InputError) as caught:
        load(text)
    assert said in str(caught.value)
    assert "zenso.toml" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="--config"):
        load_settings(tmp_path / "zenso.toml")


def test_paths_are_relative_to_the_file_and_options_come_first(load, tmp_path):
    settings = load("port = 1\nkeys = 'k.json'\n[memories]\na = 'm'\n[tls]\ncertificate='c'\nprivate_key='/p'", port=2)
    assert settings.port == 2
    assert settings.memories == {"a": tmp_path / "m"}
    assert settings.keys == tmp_path / "k.json"
    assert (settings.tls.certificate, settings.tls.private_key) == (tmp_path / "c", Path("/p"))


def test_the_example_is_valid_and_shows_what_is_so_without_it():
    shown = load_settings(EXAMPLE)
    plain = Settings()
    assert shown.model_copy(update={"keys": plain.keys, "memories": {}}) == plain


def test_the_example_shows_every_setting():
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line
        for line in EXAMPLE.read_text().splitlines()[2:]
    )
    every = tomllib.loads(uncommented)
    assert set(every) == set(Settings.model_fields)
    for name in ("limits", "tls", "logging", "tracing"):
        section = Settings.model_validate(every).model_dump()[name]
        assert set(every[name]) == set(section), name
    assert set(every["limits"]) == set(Limits.model_fields)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, r"0\.0\.0\.0 can be reached by other machines.*zenso keys create"),
        ({"host": "::"}, "can be reached"),
        ({"host": "example.org"}, "can be reached"),
        ({"hosts": ["example.org"]}, "hosts names 'example.org'.*zenso keys create"),
        ({"cors_origins": ["*"]}, "pages of every site"),
    ],
)
def test_strangers_are_kept_out_until_there_are_keys(tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        check(load_settings(keys=tmp_path / "keys.json", **settings))


def test_certificates_are_tried(tmp_path):
    (tmp_path / "c.pem").write_text("no certificate")
    tls = {"certificate": tmp_path / "c.pem", "private_key": tmp_path / "c.pem"}
    with pytest.raises(StorageError, match="PEM files that belong together"):
        check(load_settings(keys=tmp_path / "keys.json", tls=tls))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback


def test_the_command_checks_and_leaves(tmp_path, monkeypatch):
    def run(*arguments):
        return CliRunner().invoke(app, ["serve", "--check", *map(str, arguments), "--keys", str(tmp_path / "keys")])

    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.toml").write_text("port = 7")
    assert "port = 7680" in run().stdout
    monkeypatch.setenv("ZENSO_CONFIG", str(tmp_path / "other.toml"))
    assert json.loads(run("--json").stdout)["port"] == 7
    refused = run("--host", "0.0.0.0")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: 0.0.0.0 can be reached")
    half = run("--tls-key", "a.pem")
    assert half.exit_code == 1
    assert "go together" in half.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "other.toml"]
