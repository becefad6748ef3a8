"""A real Chromium, as the tests drive it."""

import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import axe_core_python
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
DESKTOP, PHONE = (1200, 900), (320, 640)

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars")
_TALLEST = 2400  # pixels of a screenshot


class Browser:
    """One window on a server.

    Scripts of the tests and axe-core come in through the debugger, which the pages' security policy does not concern.
    """

    def __init__(self, url):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in _FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        self.url = url
        self._axe = Path(axe_core_python.__file__).with_name("axe.min.js").read_text("utf-8")
        self.resize(DESKTOP)

    def close(self):
        self.driver.quit()

    def resize(self, size):
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] == PHONE[0]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, path):
        self.driver.get(self.url + path)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).text

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def click_at(self, element, x, y):
        """Click at a place of an element, in pixels from its upper left corner."""
        box = element.rect
        actions = ActionChains(self.driver)
        actions.move_to_element_with_offset(element, x - box["width"] / 2, y - box["height"] / 2).click().perform()

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, what, seconds=60):
        """Wait until a function gives something true, and return that."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < deadline, f"not within {seconds} s:\n{self.text('body')}"
            time.sleep(0.05)
        return found

    @contextmanager
    def another_page(self):
        """Leave when another page has taken the place of this one."""
        self.run("window.isOld = true")
        yield
        self.wait(lambda: self.run("return !window.isOld && document.readyState === 'complete'"))

    def violations(self):
        """What axe-core finds wrong with the page."""
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": self._axe})
        found = self.driver.execute_async_script("axe.run().then((found) => arguments[0](found.violations))")
        return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]

    def overflow(self):
        """By how many pixels the page is wider than the window."""
        return self.run("return document.documentElement.scrollWidth - innerWidth")

    def complaints(self):
        """What the console said since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "DEBUG"]

    def shoot(self, path):
        """Save a picture of the whole page."""
        width, height = self.run(
            "return [innerWidth, Math.min(document.documentElement.scrollHeight, arguments[0])]", _TALLEST
        )
        self.resize((width, height))
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))
