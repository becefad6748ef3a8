"""Who comes in, and what each may do."""

from urllib.parse import quote

import httpx
import pytest

from zenso.server import KeyFile, Scope
from zenso.server.access import needed_scope

EMBED = {"input": "a text"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def texts_of_keys(keys):
    return {scope: keys.create(scope.value, scope)[1] for scope in Scope}


@pytest.fixture(scope="module")
def guarded(start_server, texts_of_keys, keys):
    place = keys.path.parent
    (place / "zenso.toml").write_text(
        "keys = 'keys.json'\nhosts = ['Search.Example.org']\ncors_origins = ['https://friend.example']\n"
        "[memories]\nmain = 'main.zenso'\n"
    )
    return start_server(place)


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/models", "read"),
        ("HEAD", "/v1/memories", "read"),
        ("POST", "/v1/embeddings", "read"),
        ("POST", "/rerank", "read"),
        ("POST", "/rerank/", "read"),
        ("POST", "/v1/chat/completions", "read"),
        ("POST", "/v1/memories/a/search", "read"),
        ("DELETE", "/mcp", "read"),
        # What only looks like it.
        ("POST", "/rerankX", "write"),
        ("POST", "/embeddings", "write"),
        ("POST", "/v1/searches", "write"),
        ("POST", "//v1/search", "write"),
        ("POST", "/V1/search", "write"),
        ("DELETE", "/v1/search", "write"),
        ("PUT", "/v1/embeddings", "write"),
        ("POST", "/v1/documents", "write"),
        ("DELETE", "/v1/documents/a", "write"),
        ("POST", "/v1/memories/a/documents", "write"),
        ("POST", "/v1/memories/a/b/search", "write"),
        ("POST", "/v1/memories", "admin"),
        ("POST", "/v1/memories/", "admin"),
        ("DELETE", "/v1/memories/a", "admin"),
        ("DELETE", "/v1/memories/a/", "admin"),
    ],
)
def test_a_request_needs_a_scope(method, path, scope):
    assert needed_scope(method, path) == scope


def test_without_a_key_only_the_open_paths_answer(guarded):
    with guarded.client() as client:
        assert client.get("/health").status_code == 200
        for path in ("/v1/models", "/metrics", "/openapi.json", "/healthy", "//health", "/health/../metrics", "/nope"):
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
        answer = client.post("/v1/embeddings", json=EMBED)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
        assert client.get("/", headers={"Accept": "text/html"}).headers["location"] == "/login"


def test_a_key_is_a_bearer_a_header_or_a_cookie(guarded, texts_of_keys):
    text = texts_of_keys[Scope.READ]
    for headers in ({"Authorization": f"bearer {text}"}, {"X-API-Key": text}, {"Cookie": f"zenso_key={text}"}):
        assert httpx.get(f"{guarded.url}/v1/models", headers=headers).status_code == 200
    for wrong in (text[:-1], text.upper(), "zk_", "é", "x" * 5000):
        headers = {b"Authorization": f"Bearer {wrong}".encode()}
        assert httpx.get(f"{guarded.url}/v1/models", headers=headers).status_code == 401
    assert httpx.get(f"{guarded.url}/v1/models?key={text}").status_code == 401
    assert httpx.get(f"{guarded.url}/v1/models", headers={"Cookie": 'zenso_key="\\'}).status_code == 401


def test_a_key_of_a_lesser_scope_is_refused(guarded, texts_of_keys):
    with guarded.client(texts_of_keys[Scope.READ]) as client:
        assert client.post("/v1/embeddings", json=EMBED).status_code == 200
        for method, path in (("POST", "/v1/documents"), ("DELETE", "/v1/documents/a"), ("POST", "/v1/memories")):
            answer = client.request(method, path)
            assert answer.status_code == 403, path
            assert answer.json()["error"]["code"] == "forbidden"
    with guarded.client(texts_of_keys[Scope.WRITE]) as client:
        assert client.post("/v1/memories", json={}).status_code == 403
    with guarded.client(texts_of_keys[Scope.ADMIN]) as client:
        assert client.post("/v1/memories", json={}).status_code not in (401, 403)


def test_a_running_server_notices_new_revoked_and_damaged_keys(guarded, keys):
    _, text = keys.create("for a moment", Scope.READ)
    with guarded.client(text) as client:
        assert client.get("/v1/models").status_code == 200
        keys.revoke("for a moment")
        assert client.get("/v1/models").status_code == 401
        good = keys.path.read_bytes()
        keys.path.write_bytes(b"{")
        answer = client.get("/v1/models")
        assert answer.status_code == 503
        assert str(keys.path) not in answer.text
        keys.path.write_bytes(good)
        assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7680", "127.0.0.1.evil.example", "", "[::1", "[", "a b"]
)
def test_other_names_for_this_machine_are_refused(server, host):
    answer = httpx.get(f"{server.url}/health", headers={"Host": host})
    assert answer.status_code in (400, 421)


def test_its_own_names_are_served(server, guarded):
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:7680"):
        assert httpx.get(f"{server.url}/health", headers={"Host": host}).status_code == 200
    assert httpx.get(f"{guarded.url}/health", headers={"Host": "search.example.ORG"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "file://", "[", "127.0.0.1"])
def test_pages_of_other_sites_are_refused(server, origin):
    answer = httpx.post(f"{server.url}/v1/embeddings", json=EMBED, headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "foreign_origin"
    assert "access-control-allow-origin" not in answer.headers


def test_cors_is_off_unless_a_site_is_named(server, guarded, texts_of_keys):
    own = httpx.get(f"{server.url}/health", headers={"Origin": server.url})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers
    asks = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{server.url}/v1/embeddings", headers=asks).headers
    preflight = httpx.options(f"{guarded.url}/v1/embeddings", headers=asks)
    assert preflight.headers["access-control-allow-origin"] == "https://friend.example"
    with guarded.client(texts_of_keys[Scope.READ], follow_redirects=False) as client:
        answer = client.post("/v1/embeddings", json=EMBED, headers={"Origin": "https://friend.example"})
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
        assert client.get("/health", headers={"Origin": "https://evil.example"}).status_code == 403


def test_who_comes_through_a_proxy_needs_a_key(server):
    assert httpx.get(f"{server.url}/v1/models").status_code == 200
    for address in ("203.0.113.7", "2001:db8::1", "no address"):
        answer = httpx.get(f"{server.url}/v1/models", headers={"X-Forwarded-For": address})
        assert answer.status_code == 401


def test_browsers_are_told_to_be_careful(client):
    headers = client.get("/health").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert len(headers["x-request-id"]) == 16
    assert "server" not in headers


def test_a_path_in_an_id_is_only_an_id(start_server, tmp_path):
    names = [
        "../../../../etc/passwd",
        "/etc/passwd",
        "..",
        "a/../../b",
        "C:\\Windows",
        "%2e%2e%2f",
        "a\x00b",
        "\u202e/..",
    ]
    (tmp_path / "inside").mkdir()
    server = start_server(tmp_path / "inside", "--keys", tmp_path / "none")
    with server.client() as client:
        for name in names:
            added = client.post("/v1/documents", json={"documents": [{"id": name, "text": f"about {len(name)}"}]})
            assert added.status_code in (200, 400, 422), added.text
        for name in names:
            found = client.get(f"/v1/documents/{quote(name, safe='')}")
            if found.status_code == 200:
                assert found.json()["id"] == name
                assert found.json()["text"] == f"about {len(name)}"
            assert "root:" not in found.text
        for path in ("/static/../../../../etc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd", "/static/x//etc/passwd"):
            assert client.get(path).status_code == 404
        memory = client.post("/v1/memories", json={"name": "../outside"})
        assert memory.status_code in (400, 422)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_html_in_a_document_is_text_on_every_page(start_server, tmp_path):
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'</textarea></title>"
    server = start_server(tmp_path, "--keys", tmp_path / "none")
    with server.client() as client:
        document = {"id": f"id {attack}", "text": f"harmless words {attack}", "metadata": {"title": attack}}
        assert client.post("/v1/documents", json={"documents": [document]}).status_code == 200
        pages = [
            client.get("/", params={"q": f"words {attack}"}),
            client.get("/documents"),
            client.get(f"/documents/{quote(document['id'], safe='')}"),
            client.get("/documents", params={"where": attack, "memory": attack}),
            client.get(f"/nothing/{attack}", headers={"Accept": "text/html"}),
        ]
        answer = client.post("/v1/search", json={"query": "words"})
    assert "harmless" in pages[0].text
    assert "harmless words" in pages[2].text
    for page in pages:
        if page.headers["content-type"].startswith("text/html"):
            assert "<script>alert" not in page.text
            assert "<img src=x" not in page.text
            assert "script-src 'self'" in page.headers["content-security-policy"]
            assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
