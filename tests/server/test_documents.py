import json
import threading
from urllib.parse import quote

import pytest

import zenso
from zenso.server import KeyFile, Scope

ODD_IDS = [
    "a/b/c",
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "//",
    "a%2Fb",
    "50%",
    "?x=1#y",
    "naïve — 文",
    "export",
    "a\x00b",
    " ",
]


@pytest.fixture
def clean(client):
    """Deletes what the test adds: the documents whose metadata has ``mine``."""
    yield client
    client.post("/v1/documents/delete", json={"where": {"mine": {"$exists": True}}}).raise_for_status()


def add(client, *documents):
    given = [{"metadata": {"mine": 1}, **document} for document in documents]
    answer = client.post("/v1/documents", json={"documents": given})
    answer.raise_for_status()
    return answer.json()["ids"]


def lines(answer):
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_document_comes_back_as_it_was_given(clean):
    document = {
        "id": "cake",
        "text": "A cake\x00 needs sugar.",
        "metadata": {"mine": 1, "year": 2020, "tags": ["a", None]},
    }
    assert add(clean, document) == ["cake"]
    assert clean.get("/v1/documents/cake").json() == {**document, "source": None}
    assert clean.delete("/v1/documents/cake").json() == {"deleted": 1}
    assert clean.get("/v1/documents/cake").status_code == 404
    assert clean.delete("/v1/documents/cake").json()["error"]["code"] == "document_not_found"


def test_a_text_without_an_id_gets_that_of_the_library(clean, tmp_path):
    with zenso.open(tmp_path / "other.zenso") as memory:
        assert add(clean, {"text": "A text of its own."}) == memory.add(["A text of its own."])


def test_ids_are_names_and_never_paths(clean):
    add(clean, *({"id": name, "text": f"text {place}"} for place, name in enumerate(ODD_IDS)))
    for place, name in enumerate(ODD_IDS):
        listed = clean.get("/v1/documents", params={"where": json.dumps({"$ids": [name]})}).json()["documents"]
        assert [row["text"] for row in listed] == [f"text {place}"]
        # Clients resolve these themselves, and `export` is a route.
        if name not in ("..", ".", "export", "../../etc/passwd"):
            assert clean.get(f"/v1/documents/{quote(name, safe='')}").json()["id"] == name
    assert clean.post("/v1/documents/delete", json={"ids": [*ODD_IDS, "unknown"]}).json() == {"deleted": len(ODD_IDS)}


def test_html_stays_text(clean):
    text = "<script>alert(1)</script> & more"
    add(clean, {"id": "html", "text": text})
    for path in ("/v1/documents/html", "/v1/search?q=alert", "/v1/documents/export"):
        answer = clean.get(path)
        assert answer.headers["content-type"] in ("application/json", "application/x-ndjson")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert json.dumps(text) in answer.text


def test_pages_hold_every_document_once(clean):
    names = [f"page-{number}" for number in range(25)]
    add(clean, *({"id": name, "text": f"{name} of a book", "metadata": {"mine": 2}} for name in names))
    found, cursor = [], "0"
    while cursor is not None:
        query = {"where": '{"mine": 2}', "limit": 10, "cursor": cursor}
        page = clean.get("/v1/documents", params=query).json()
        found += [document["id"] for document in page["documents"]]
        cursor = page["next"]
    assert found == names


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ('{"documents": [{"text": " "}]}', 400, "only white space"),
        ('{"documents": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]}', 400, "'a' is given twice"),
        ('{"documents": [{"id": "' + "i" * 513 + '", "text": "x"}]}', 422, "at most 512 characters"),
        ('{"documents": [{"id": "", "text": "x"}]}', 422, "at least 1 character"),
        ('{"documents": []}', 422, "at least 1 item"),
        ('{"documents": [{"text": "x", "metadatas": {}}]}', 422, "Extra inputs are not permitted"),
        ('{"documents": [{"text": "x", "metadata": {"a": {"b": 1}}}]}', 400, "flatten nested mappings"),
        ('{"documents": [{"text": "x", "metadata": {"$a": 1}}]}', 400, "filter operators"),
        ('{"documents": [{"text": "x", "metadata": {"a": 18446744073709551616}}]}', 400, "does not fit in 64 bits"),
        ('{"documents": [{"text": "x", "metadata": {"a": 1e999}}]}', 400, "which JSON cannot hold"),
        ('{"documents": [{"text": "x", "metadata": {"a": NaN}}]}', 400, "no JSON that is taken here"),
        ('{"documents": [{"text": "\\ud800"}]}', 400, "no JSON that is taken here"),
        ('{"documents": [{"text": "x", "metadata": {"a": ' + "[" * 5000 + "]" * 5000 + "}}]}", 400, "recursion limit"),
        ('{"documents": [{"text": "x"}], "memory": "none"}', 404, "there is no memory 'none'"),
        ("{", 400, "no JSON that is taken here"),
        ("", 422, "the body: Field required"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_named(client, body, status, said):
    answer = client.post("/v1/documents", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]
    assert len(answer.content) < 2000


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ('{"$and": 1}', "give a non-empty list of filters"),
        ('{"a": {"$near": 1}}', "unknown operator '$near'"),
        ("[]", "give a JSON object"),
        ("{", "no JSON"),
        ('{"$not": ' * 50 + "{}" + "}" * 50, "nested more than"),
    ],
)
def test_a_wrong_filter_is_refused_before_anything_is_sent(client, where, said):
    for path in ("/v1/documents", "/v1/documents/export"):
        answer = client.get(path, params={"where": where})
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(client):
    def endless():
        for _ in range(40):
            yield b" " * 2**20

    for content in (endless(), b" " * (33 * 2**20)):
        answer = client.post("/v1/documents", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"


def test_an_export_is_an_import(clean, texts, tmp_path):
    exported = clean.get("/v1/documents/export", params={"where": json.dumps({"$ids": list(texts)})})
    assert exported.headers["content-type"] == "application/x-ndjson"
    (tmp_path / "all.jsonl").write_text(exported.text)
    with zenso.open(tmp_path / "copy.zenso") as memory:
        assert memory.import_from(tmp_path / "all.jsonl").documents == len(texts)
        assert {document.id: document.text for document in memory} == texts
    answer = clean.post("/v1/documents/import", content=exported.content)
    assert lines(answer)[-1] == {"event": "done", "lines": len(texts), "documents": len(texts), "failed": 0}


def test_an_import_stores_the_lines_that_can_be_and_names_the_others(clean):
    body = [
        b'{"id": "one", "text": "first", "metadata": {"mine": 1}}',
        b"",
        b"no json",
        b'{"text": " "}',
        b'{"text": "x", "title": "y"}',
        b'{"id": "blank", "text": "%s x"}' % (b" " * 10_000),
        b'"text"',
        b'{"id": "two", "text": "last", "metadata": {"mine": 1}}',
    ]
    events = lines(clean.post("/v1/documents/import", content=b"\r\n".join(body)))
    assert {event["line"]: event["message"].split(";")[0] for event in events if event["event"] == "error"} == {
        3: "it is no JSON (expected ident at line 1 column 2)",
        4: "texts[0] is only white space",
        5: "unknown key 'title'",
        6: "text 0 begins with only white space (the first 10000 characters count)",
        7: "it is no object",
    }
    assert events[-1] == {"event": "done", "lines": 8, "documents": 2, "failed": 5}
    assert clean.get("/v1/documents/two").json()["text"] == "last"


def test_an_import_tells_how_far_it_is_while_it_runs(clean):
    go_on = threading.Event()

    def body():
        for number in range(256):
            yield (
                json.dumps({"id": f"line-{number}", "text": f"line {number % 5}", "metadata": {"mine": 1}}).encode()
                + b"\n"
            )
        assert go_on.wait(60)
        yield b'{"text": "the end", "metadata": {"mine": 1}}'

    headers = {"Accept": "text/event-stream"}
    # The client reads the answer when all is sent, so another one looks meanwhile.
    sender = {}

    def send():
        sender["answer"] = clean.post("/v1/documents/import", content=body(), headers=headers)

    thread = threading.Thread(target=send)
    thread.start()
    while clean.get("/v1/documents/line-255").status_code == 404:
        assert thread.is_alive()
    go_on.set()
    thread.join()
    events = [part.split("\n") for part in sender["answer"].text.strip().split("\n\n")]
    assert [event[0] for event in events] == ["event: progress", "event: done"]
    assert json.loads(events[0][1].removeprefix("data: "))["documents"] == 256
    assert json.loads(events[1][1].removeprefix("data: "))["documents"] == 257


def test_errors_of_many_lines_are_counted(client):
    events = lines(client.post("/v1/documents/import", content=b"x\n" * 1000))
    assert len(events) <= 106
    assert events[-1] == {"event": "done", "lines": 1000, "documents": 0, "failed": 1000}


def test_acknowledged_documents_survive_a_kill(start_server, tmp_path):
    server = start_server(tmp_path, tmp_path / "m.zenso")
    seen = []
    with server.client() as client:
        added = add(client, {"text": "An added text."})

        def body():
            for number in range(2_000):
                yield json.dumps({"id": str(number), "text": f"imported {number}"}).encode() + b"\n"

        def send():
            try:
                client.post("/v1/documents/import", content=body())
            except Exception as error:  # noqa: BLE001 - the server is killed meanwhile
                seen.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        with server.client() as other:
            while other.get("/v1/documents/255").status_code == 404:
                assert thread.is_alive()
            acknowledged = other.get("/v1/documents", params={"limit": 1000}).json()["documents"]
        server.kill()
        thread.join()
    with zenso.open(tmp_path / "m.zenso") as memory:
        kept = {document.id for document in memory}
    assert kept >= {*added, *(document["id"] for document in acknowledged)}
    assert len(acknowledged) >= 257


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    return path, {scope: KeyFile(path).create(scope.value, scope)[1] for scope in Scope}


@pytest.fixture(scope="module")
def guarded(start_server, tmp_path_factory, keys):
    place = tmp_path_factory.mktemp("guarded")
    (place / "zenso.toml").write_text(f'keys = "{keys[0]}"\ndata = "made"\n[memories]\nnotes = "notes.zenso"\n')
    return start_server(place)


def test_a_scope_does_what_it_may(guarded, keys):
    document = {"documents": [{"id": "a", "text": "some text"}]}
    calls = {
        Scope.READ: [
            *(
                ("GET", path, None)
                for path in ("/v1/documents", "/v1/documents/export", "/v1/memories", "/v1/search?q=a")
            ),
            ("POST", "/v1/search", {"query": "a"}),
            ("POST", "/v1/verify", {"text": "a"}),
            ("POST", "/rpc", {"jsonrpc": "2.0", "id": 1, "method": "get_text_embedding", "params": ["a"]}),
        ],
        Scope.WRITE: [
            ("POST", "/v1/documents", document),
            ("POST", "/v1/documents/import", {"text": "a"}),
            ("DELETE", "/v1/documents/a", None),
            ("POST", "/v1/documents/delete", {"ids": ["a"]}),
        ],
        Scope.ADMIN: [("POST", "/v1/memories", {"name": "more"})],
    }
    for needed, requests in calls.items():
        for method, path, body in requests:
            for scope, key in keys[1].items():
                with guarded.client(key) as client:
                    status = client.request(method, path, json=body).status_code
                # Once deleted it is not found, and a memory exists already: both are past the gate.
                assert status in ((200, 404, 409) if scope.includes(needed) else (403,)), (scope, method, path)
            with guarded.client() as client:
                assert client.request(method, path, json=body).status_code == 401


def test_memories_are_made_where_the_settings_say(start_server, tmp_path):
    (tmp_path / "zenso.toml").write_text('data = "made"\n[memories]\nnotes = "notes.zenso"\n')
    server = start_server(tmp_path)
    with server.client() as client:
        described = client.post("/v1/memories", json={"name": "recipes"}).json()
        assert described["documents"] == 0
        assert "path" not in described
        assert client.post("/v1/memories", json={"name": "Recipes"}).status_code == 409
        for name in ("../out", "a/b", "", ".hidden", "a\n", "/tmp/x"):
            assert client.post("/v1/memories", json={"name": name}).status_code == 422
        client.post(
            "/v1/documents", json={"documents": [{"id": "a", "text": "x"}], "memory": "recipes"}
        ).raise_for_status()
        assert client.get("/v1/documents/a").status_code == 404
        assert client.get("/v1/documents/a", params={"memory": "recipes"}).status_code == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "notes.zenso", "zenso.toml"]
    server.stop()
    with start_server(tmp_path).client() as client:
        found = {row["name"]: row["documents"] for row in client.get("/v1/memories").json()["memories"]}
        assert found == {"notes": 0, "recipes": 1}
        assert client.get("/v1/memories/recipes").json()["is_default"] is False
        assert client.get("/v1/memories/none").status_code == 404


def test_without_a_folder_for_memories_none_are_made(client):
    answer = client.post("/v1/memories", json={"name": "more"})
    assert answer.status_code == 409
    assert "set `data`" in answer.json()["error"]["message"]
