#!/usr/bin/env python3
"""Opens a page of `ifog view` in headless Chromium and checks what a user does with it.

usage: check_view.py PAGE [SCREENSHOT]

Needs chromium and chromedriver (Debian: chromium, chromium-driver), and speaks WebDriver over HTTP itself, so that no
package has to be installed. Checks: no message in the console, the unit changes by click and by keyboard, the colour behind
every character is that of its value, hovering shows the value and the candidates.
"""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PORT = 9517
ARROW_RIGHT = "\ue014"


def request(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {path}: {error.read().decode()}")


class Browser:
    def __init__(self, profile):
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                     "--disable-background-networking", "--disable-component-update", "--window-size=1100,1400",
                     f"--user-data-dir={profile}"]
        wanted = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": arguments}}
        session = request("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.path = "/session/" + session["sessionId"]

    def open(self, page):
        request("POST", self.path + "/url", {"url": pathlib.Path(page).resolve().as_uri()})

    def run(self, script):
        return request("POST", self.path + "/execute/sync", {"script": script, "args": []})

    def element(self, selector):
        return next(iter(request("POST", self.path + "/element", {"using": "css selector", "value": selector}).values()))

    def click(self, selector):
        request("POST", f"{self.path}/element/{self.element(selector)}/click", {})

    def type(self, selector, text):
        request("POST", f"{self.path}/element/{self.element(selector)}/value", {"text": text})

    def hover(self, selector):
        origin = {"element-6066-11e4-a52e-4f735466cecf": self.element(selector)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        actions = [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [move]}]
        request("POST", self.path + "/actions", {"actions": actions})

    def messages(self):
        return [entry["message"] for entry in request("POST", self.path + "/se/log", {"type": "browser"})]

    def screenshot(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(request("GET", self.path + "/screenshot")))


# For every character: the colour that the browser shows, and the one that its value asks for.
COLOURS = """
const bytes = Uint8Array.from(atob(DATA.layers[chosen.layer][chosen.quantity].values), c => c.charCodeAt(0));
const values = new Int8Array(bytes.buffer);
return [...document.getElementById('text').children].map((span, t) =>
  [getComputedStyle(span).backgroundColor, values[t * DATA.hidden + chosen.unit] / 127]);
"""


def check_colours(browser):
    shown = browser.run(COLOURS)
    assert len(shown) > 10, "the page shows no text"
    for colour, value in shown:
        parts = [float(x) for x in colour[colour.index("(") + 1:-1].split(",")]
        (r, _, b), alpha = parts[:3], parts[3] if len(parts) > 3 else 1.0
        assert abs(alpha - abs(value)) < 0.01, f"{colour} for {value}"
        assert (r > b) == (value >= 0) or alpha == 0, f"{colour} for {value}"
    return len(shown)


def check(page, screenshot):
    driver = subprocess.Popen(["chromedriver", f"--port={PORT}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/status", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        with tempfile.TemporaryDirectory() as profile:
            browser = Browser(profile)
            browser.open(page)
            unit = "return chosen.unit"
            first = browser.run(unit)
            hidden = browser.run("return DATA.hidden")
            count = check_colours(browser)
            if screenshot:
                browser.screenshot(screenshot)
            browser.click("#next")
            assert browser.run(unit) == (first + 1) % hidden, "a click on next changes the unit"
            browser.type("#text", ARROW_RIGHT)
            assert browser.run(unit) == (first + 2) % hidden, "an arrow key changes the unit"
            check_colours(browser)
            browser.click("#units button:nth-child(4)")
            assert browser.run(unit) == 3, "a click on a strip chooses its unit"
            browser.type("#text", "q")
            assert browser.run("return chosen.quantity") == 1 % browser.run("return DATA.layers[0].length")
            check_colours(browser)
            browser.run("window.scrollTo(0, 0)")
            browser.hover("#text span:nth-child(5)")
            status = browser.run("return document.getElementById('status').textContent")
            assert "next:" in status and "%" in status, f"hovering shows the value: {status!r}"
            messages = browser.messages()
            assert not messages, f"the console has messages: {messages}"
            request("DELETE", browser.path)
        print(f"{page}: {count} characters, all checks passed")
    finally:
        driver.terminate()
        driver.wait()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    check(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None)
