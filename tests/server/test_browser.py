"""Every page in a real browser."""

import os
from pathlib import Path

import pytest
from blake3 import blake3
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

import zenso
from tests.server.browser import CHROMIUM, DESKTOP, DRIVER, PHONE, Browser

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="there is no Chromium with its chromedriver on this machine"
)

PAGES = {
    "home": "/",
    "search": "/?q=how+is+bread+made&field=letters&operator=%24gte&value=1",
    "documents": "/documents",
    "document": "/documents/whale",
    "indexing": "/indexing",
    "status": "/status",
    "verify": "/verify",
    "map": "/map?q=sea",
    "login": "/login",
}


@pytest.fixture(scope="module")
def server(lively_server):
    return lively_server


@pytest.fixture(scope="module")
def browser(server):
    browser = Browser(server.url)
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def quiet_console(browser):
    """No page says anything to the console: no error, no breach of the policy."""
    browser.resize(DESKTOP)
    yield
    assert browser.complaints() == []


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    given = os.environ.get("ZENSO_SCREENSHOTS")
    return Path(given) if given else tmp_path_factory.mktemp("screenshots")


def settle(browser, name):
    """Wait for what the scripts of a page do."""
    if name == "verify":
        browser.wait(lambda: browser.find_all(".verdict.match"))
    if name == "map":
        browser.wait(lambda: browser.find_all("[data-ready]"))
    if name == "indexing":
        browser.wait(lambda: browser.find("#live").is_displayed())


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_accessible_and_fit_a_phone_in_light_and_dark(browser, screenshots, name):
    browser.open(PAGES[name])
    settle(browser, name)
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        browser.resize(DESKTOP)
        assert browser.violations() == []
        browser.shoot(screenshots / f"{name}-{scheme}.png")
        browser.resize(PHONE)
        assert browser.overflow() <= 0
        browser.shoot(screenshots / f"{name}-{scheme}-phone.png")
    assert browser.violations() == []


def test_a_search_by_keys_finds_a_document_and_opens_it(browser, texts):
    browser.open("/documents")
    browser.press("g", "s")
    browser.wait(lambda: browser.find_all("#q"))
    with browser.another_page():
        browser.press("whales and captains\n")
    assert "q=whales" in browser.driver.current_url
    assert browser.text(".result h2") == "whale"
    assert "whale" in [mark.text for mark in browser.find_all("mark.strong")]
    browser.press("/")
    assert browser.run("return document.activeElement.id") == "q"
    browser.press(Keys.ESCAPE)
    browser.press("?")
    assert browser.find("#help").is_displayed()
    browser.press(Keys.ESCAPE)
    browser.press("j")
    with browser.another_page():
        browser.press("\n")
    assert browser.text(".whole") == texts["whale"]


def test_the_filter_grows_rows(browser, texts):
    browser.open("/documents")
    browser.find(".filters summary").click()
    browser.find("#more-rows").click()
    assert len(browser.find_all(".filter-row")) == 2
    length = str(len(texts["paris"]))
    for row, operator in zip(browser.find_all(".filter-row"), ("at least", "at most"), strict=True):
        field, sign, value = row.find_elements("css selector", "input, select")
        field.send_keys("letters")
        Select(sign).select_by_visible_text(operator)
        value.send_keys(length)
    with browser.another_page():
        browser.run("document.querySelector('form.options').requestSubmit()")
    assert [title.text for title in browser.find_all(".documents h2")] == ["paris"]


def test_the_browser_reaches_the_hash_of_the_server_and_a_wrong_bit_does_not(browser, client):
    text = "Ein Text, 東京, and a word: unaffable."
    browser.open("/verify")
    settle(browser, "verify")
    browser.run("document.querySelector('textarea').value = arguments[0]", text)
    expected = client.get("/verify/embedding", params={"text": text}).json()
    browser.find("#run").click()
    browser.wait(lambda: browser.text("#browser-hash") == expected["hash"])
    assert browser.text("#server-hash") == expected["hash"]
    assert browser.text(".verdict.match").startswith("Match")
    assert browser.text("#kernel-digest") == f"{expected['kernel']} ✓ the same"
    assert browser.text("#model-digest") == f"{expected['artifact']} ✓ the same"
    assert len(browser.find_all("#tokens li")) == len(expected["ids"])

    browser.find("#flip").click()
    browser.wait(lambda: browser.find_all(".verdict.mismatch"))
    assert browser.text("#browser-hash") != expected["hash"]
    assert browser.text(".verdict").startswith("Mismatch")
    assert browser.text("#model-digest").endswith("different")
    assert browser.text("#kernel-digest").endswith("the same")

    browser.find("#flip").click()
    browser.wait(lambda: browser.find_all(".verdict.match"))
    assert browser.text("#browser-hash") == expected["hash"]


def test_a_click_on_the_map_opens_the_document(browser, client, texts):
    browser.open("/map?memory=notes")
    settle(browser, "map")
    canvas = browser.find("#canvas")
    browser.run("arguments[0].scrollIntoView()", canvas)
    browser.run("arguments[0].focus()", canvas)
    for _ in range(len(client.get("/map/points").json()["points"])):
        browser.press("n")
        if browser.text("#map-title") == texts["whale"]:
            break
    # A chosen point lies in the middle.
    box = canvas.rect
    browser.press("+")
    with browser.another_page():
        browser.click_at(canvas, box["width"] / 2, box["height"] / 2)
    assert browser.text(".whole") == texts["whale"]


def test_the_map_is_dragged_and_zoomed(browser):
    browser.open("/map")
    settle(browser, "map")
    picture = "return document.querySelector('canvas').toDataURL()"
    seen = [browser.run(picture)]
    for selector in ("#zoom-in", "#zoom-out", "#zoom-in", "#fit"):
        browser.find(selector).click()
        seen.append(browser.wait(lambda: (now := browser.run(picture)) != seen[-1] and now))
    assert seen[-1] == seen[0]
    browser.run("document.querySelector('canvas').focus()")
    browser.press(Keys.ARROW_RIGHT)
    browser.wait(lambda: browser.run(picture) != seen[0])


def test_additions_are_seen_as_they_come(browser, server, tmp_path):
    browser.open("/indexing")
    settle(browser, "indexing")
    shown = lambda: int(browser.text("[data-documents]").replace(",", ""))  # noqa: E731
    before = browser.wait(shown)
    with zenso.open(server.place / "notes.zenso") as memory:
        memory.add("Another process adds this while the page is open.")
    browser.wait(lambda: shown() == before + 1)

    (tmp_path / "notes.md").write_text("# Kettles\n\nA kettle sings before it boils.")
    browser.find("[name=texts]").send_keys("A first text of the form.\n\nAnd a second one.")
    browser.find("[name=files]").send_keys(str(tmp_path / "notes.md"))
    browser.find("#add-form button").click()
    browser.wait(lambda: browser.text("#add-note").startswith("Stored: 2 texts and notes.md"))
    browser.wait(lambda: shown() == before + 4)
    browser.wait(lambda: browser.find_all("#jobs [data-state=done]"))


def test_a_document_is_deleted_after_a_second_thought(browser, server):
    with zenso.open(server.place / "notes.zenso") as memory:
        memory.add("To be deleted.", ids="doomed")
        browser.open("/documents/doomed")
        assert not browser.find(".destructive").is_displayed()
        browser.find(".danger summary").click()
        with browser.another_page():
            browser.find(".destructive").click()
        assert "doomed" not in memory


def test_the_theme_is_kept(browser):
    browser.prefer("light")
    browser.open("/")
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(paper)
    browser.find("#theme").click()
    dark = browser.run(paper)
    assert dark != light
    browser.open("/status")
    assert browser.run(paper) == dark
    browser.find("#theme").click()
    assert browser.run(paper) == light


@pytest.mark.parametrize("size", [0, 1, 64, 65, 1024, 1025, 5 * 1024, 100_003])
def test_the_browsers_blake3_is_blake3(browser, size):
    browser.open("/login")
    address = browser.run("return document.querySelector('script[src]').src").replace("theme.js", "blake3.js")
    script = """
        const [address, size, done] = arguments;
        const bytes = Uint8Array.from({ length: size }, (_, place) => place % 251);
        import(address).then(({ blake3, hex }) => done(hex(blake3(bytes))));
    """
    found = browser.driver.execute_async_script(script, address, size)
    assert found == blake3(bytes(place % 251 for place in range(size))).hexdigest()
