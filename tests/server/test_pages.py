import io
import re
from html import unescape

import pytest
from blake3 import blake3

import zenso
from zenso.canonical import Want, content_hash
from zenso.server.access import COOKIE
from zenso.server.keys import KeyFile, Scope
from zenso.server.pages.filters import Row, as_where
from zenso.server.pages.glyph import glyph_path
from zenso.server.pages.plots import HEIGHT, WIDTH, LatencyPlot
from zenso.server.pages.projection import projection_of
from zenso.server.pages.rendering import document_url
from zenso.zen import load_encoder

PAGES = ["/", "/?q=bread", "/documents", "/documents/bread", "/indexing", "/status", "/verify", "/map", "/login"]
HTML = {"Accept": "text/html"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


@pytest.fixture(scope="module")
def server(lively_server):
    return lively_server


@pytest.fixture(scope="module")
def browser(server):
    """A client that asks as browsers do."""
    with server.client() as client:
        client.headers.update(HTML)
        yield client


@pytest.fixture(scope="module")
def locked(start_server, tmp_path_factory):
    """A server with keys: its reader's and its writer's."""
    place = tmp_path_factory.mktemp("locked")
    keys = KeyFile(place / "keys.json")
    texts = {scope: keys.create(scope.value, scope)[1] for scope in (Scope.READ, Scope.WRITE)}
    (place / "zenso.toml").write_text('keys = "keys.json"\n[memories]\nempty = "empty.zenso"\n')
    return start_server(place, "--config", place / "zenso.toml"), texts


def add(browser, texts="", **files):
    fields = {"memory": "notes", "texts": texts}
    parts = [("files", (name, io.BytesIO(data))) for name, data in files.items()]
    return browser.post("/indexing/import", data=fields, files=parts or None)


def words(page):
    """The text of a page without its markup."""
    return unescape(re.sub(r"<[^>]+>", " ", page))


@pytest.mark.parametrize("path", PAGES)
def test_pages_load_nothing_from_elsewhere_and_keep_the_policy(browser, path):
    answer = browser.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r'(src|href|action)="(https?:)?//', answer.text)
    assert not re.search(r"<style|\sstyle=|\son\w+=", answer.text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", answer.text))
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        found = browser.get(address)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]


def test_a_search_finds_and_marks_what_answers(browser):
    page = browser.get("/", params={"q": "who catches whales", "k": 2}).text
    assert page.index("/documents/whale?") < page.index("</article>")
    marks = re.findall(r'<mark class="(\w+)">([^<]+)</mark>', page)
    assert ("strong", "whale") in marks
    assert {kind for kind, _ in marks} <= {"passage", "weak", "strong"}
    assert "By stage" in page
    assert len(re.findall("data-item", page)) == 2


def test_filters_are_rows_of_a_form(browser, texts):
    rows = {"field": "letters", "operator": "$gte", "value": str(len(texts["whale"]))}
    page = browser.get("/documents", params=rows).text
    assert "/documents/whale?" in page
    assert "/documents/bread?" not in page
    assert 'value="letters"' in page
    page = browser.get("/", params={"q": "bread", **rows, "operator": "$lt"}).text
    assert "/documents/bread?" in page
    assert "/documents/whale?" not in page
    assert "/documents/" not in browser.get("/documents?field=nowhere&operator=$exists").text
    assert "unknown operator" in words(browser.get("/", params={"q": "bread", **rows, "operator": "$bad"}).text)


@pytest.mark.parametrize(
    ("row", "condition"),
    [
        (Row("n", "$gte", "3"), {"$gte": 3}),
        (Row("n", "$eq", '"3"'), {"$eq": "3"}),
        (Row("n", "$eq", "red"), {"$eq": "red"}),
        (Row("n", "$eq", "true"), {"$eq": True}),
        (Row("n", "$eq", "[1]"), {"$eq": "[1]"}),
        (Row("n", "$in", "1, red ,"), {"$in": [1, "red"]}),
        (Row("n", "$icontains", "3"), {"$icontains": "3"}),
        (Row("n", "$exists", ""), {"$exists": True}),
    ],
)
def test_a_row_becomes_a_condition(row, condition):
    assert as_where([row]) == {"$and": [{"n": condition}]}


def test_hostile_text_is_shown_and_never_run(browser):
    name = f"{HOSTILE}.txt"
    assert add(browser, HOSTILE, **{name: HOSTILE.encode()}).status_code == 303
    found = re.findall(r'href="(/documents/[^"]+memory=notes)"', browser.get("/documents").text)
    pages = [browser.get("/", params={"q": HOSTILE}), browser.get("/documents"), browser.get("/indexing")]
    pages += [browser.get("/verify", params={"text": HOSTILE}), browser.get("/map"), browser.get("/documents/" + "<b>")]
    pages += [browser.get(unescape(address)) for address in found[:2]]
    assert sum(HOSTILE in words(page.text) for page in pages) >= 6
    for page in pages:
        assert "<script>alert" not in page.text
        assert "<img" not in page.text


@pytest.mark.parametrize("name", ["a/../b", "..", ".", "/etc/passwd", "x?y#z", "a b+c%2F"])
def test_a_document_of_any_id_is_found_by_its_link_and_deleted(browser, server, name):
    assert browser.get(document_url("notes", name)).status_code == 404
    with zenso.open(server.place / "notes.zenso") as memory:
        memory.add("A text of its own " + name, ids=name)
    page = browser.get(document_url("notes", name))
    assert page.status_code == 200
    assert "A text of its own" in page.text
    answer = browser.post("/documents/delete", data={"memory": "notes", "id": name})
    assert answer.headers["location"] == "/documents?memory=notes"
    assert browser.get(document_url("notes", name)).status_code == 404


def test_files_and_texts_become_documents(browser):
    answer = add(
        browser,
        "The kettle sings.\n\nThe clock strikes.",
        **{"tea.md": b"# Tea\n\nGreen tea wants water that does not boil.", "x.bin": b"\0\1\2"},
    )
    assert answer.status_code == 303
    page = browser.get("/indexing").text
    assert "2 texts and 2 files" in page
    assert "x.bin: binary" in page
    rows = {"field": "path", "operator": "$eq", "value": "upload:tea.md"}
    assert "Green tea wants water" in browser.get("/documents", params=rows).text
    assert "tea" in browser.get("/", params={"q": "how hot for green tea", "k": 1}).text
    assert add(browser).status_code == 400


def test_the_list_has_pages(browser):
    assert add(browser, "\n\n".join(f"Line number {number} of a long list." for number in range(30))).status_code == 303
    first = browser.get("/documents").text
    assert "Page 1 of 2" in first
    following = unescape(re.search(r'<a href="([^"]+)" rel="next"', first)[1])
    assert "Page 2 of 2" in browser.get(following).text
    assert browser.get("/documents?page=0").status_code == 422


def test_a_method_that_a_page_has_not_is_told_those_it_has(browser):
    answer = browser.delete("/status", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_events_tell_of_other_processes(server):
    with server.client() as client, client.stream("GET", "/indexing/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in stream.iter_lines() if line.startswith("data:"))
        before = next(lines)
        with zenso.open(server.place / "notes.zenso") as memory:
            memory.add("This comes from elsewhere.")
        assert next(lines) != before


def test_verify_gives_what_the_library_gives(client, texts):
    encoder = load_encoder()
    answer = client.get("/verify/embedding", params={"text": texts["paris"]}).json()
    encoded = encoder.canonical.encode([texts["paris"]], Want.POOLED)
    assert answer["ids"] == encoded.ids[0].tolist()
    assert answer["hash"] == content_hash(encoded.pooled[0]).hex()
    assert answer["tokens"][0] == "[CLS]"
    kernel = client.get(f"/verify/kernel/{answer['kernel']}")
    model = client.get(f"/verify/model/{answer['artifact']}")
    assert blake3(kernel.content).hexdigest() == answer["kernel"]
    assert blake3(model.content).hexdigest() == answer["artifact"]
    assert len(model.content) == answer["artifact_bytes"]
    assert client.get("/verify/model/00").status_code == 404


def test_the_map_shows_every_document_and_the_place_of_a_question(client):
    data = client.get("/map/points", params={"q": "whales", "group": "letters"}).json()
    titles = [point[3] for point in data["points"]]
    assert any(title.startswith("A whale hunt") for title in titles)
    assert all(-1 <= value <= 1 for point in data["points"] for value in point[:2])
    assert titles[data["found"][0]].startswith("A whale hunt")
    assert len(data["groups"]) <= 6
    assert client.get("/map/points", params={"q": "whales", "group": "letters"}).json() == data


def test_a_key_becomes_a_cookie_and_opens_the_pages(locked):
    server, keys = locked
    with server.client() as client:
        client.headers.update(HTML)
        assert client.get("/").headers["location"] == "/login"
        refused = client.post("/login", data={"key": "zk_wrong"})
        assert refused.status_code == 401
        assert "not known here" in refused.text
        answer = client.post("/login", data={"key": keys[Scope.READ]})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
        assert COOKIE in client.cookies
        assert "read" in client.get("/").text
        assert "This memory is empty" in client.get("/map").text
        assert 'id="add-form"' not in client.get("/indexing").text
        assert client.post("/documents/delete", data={"memory": "empty", "id": "x"}).status_code == 403
        assert add(client).status_code == 403
        client.post("/logout")
        assert client.get("/").headers["location"] == "/login"
        client.post("/login", data={"key": keys[Scope.WRITE]})
        assert 'id="add-form"' in client.get("/indexing").text


def test_pages_of_other_sites_cannot_change_anything(browser):
    answer = browser.post(
        "/documents/delete", data={"memory": "notes", "id": "bread"}, headers={"Origin": "https://elsewhere.example"}
    )
    assert answer.status_code == 403
    assert browser.get("/documents/bread").status_code == 200


def test_errors_are_pages_for_browsers_and_json_for_programs(browser, client):
    page = browser.get("/nothing-here")
    assert page.status_code == 404
    assert "<h1>Not Found</h1>" in page.text
    assert client.get("/nothing-here").json()["error"]["code"] == "not_found"
    assert "there is no memory &#39;x&#39;" in browser.get("/documents?memory=x").text


def test_a_stopping_server_ends_its_streams(start_server, tmp_path):
    server = start_server(tmp_path, tmp_path / "m.zenso")
    with server.client() as client, client.stream("GET", "/indexing/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        server.stop()
        assert "" in list(lines)  # to the proper end: a stream that is cut off raises


def test_a_glyph_has_a_square_for_every_bit():
    assert glyph_path(bytes(32)) == ""
    assert glyph_path(b"\x80" + bytes(31)) == "M0 0h1v1h-1z"
    assert glyph_path(bytes(31) + b"\x01") == "M15 15h1v1h-1z"


def test_a_plot_keeps_its_dots_inside():
    plot = LatencyPlot("/x", [0.0, 0.0005, 0.02, 3.0, 500.0])
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in plot.dots)
    assert plot.dots[0][1] > plot.dots[2][1] > plot.dots[3][1]
    assert plot.quantile(0.5) == 0.02
    assert plot.quantile(0.99) == 500.0


def test_a_projection_is_made_again_only_after_a_change(tmp_path, texts):
    with zenso.open(tmp_path / "m.zenso", encoder=load_encoder()) as memory:
        assert projection_of(memory) is None
        memory.add(list(texts.values()), ids=list(texts))
        first = projection_of(memory)
        assert projection_of(memory) is first
        vector = memory.vectors("whale")["whale"]
        whale = next(point for point in first.points if point.id == "whale")
        assert first.place(vector) == (whale.x, whale.y)
        memory.delete("bread")
        assert len(projection_of(memory).points) == len(texts) - 1
