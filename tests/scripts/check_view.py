#!/usr/bin/env python3
"""Opens the pages that ifog writes in headless Chromium and does what their reader does.

usage: check_view.py IFOG [SCREENSHOTS]

Trains a small model and writes the pages of `train`, `view`, `flow`, `compare` and `task` with the binary IFOG. Checks of each,
wide and narrow, light and dark: no message in the console, nothing wider than the window. Of `ifog view`: layer and unit change by click and by
keyboard, the colour behind every character is that of its value, hovering shows the value and the candidates. SCREENSHOTS is a
folder for pictures of all.

Needs chromium and chromedriver (Debian: chromium, chromium-driver), without which it says so and checks nothing. Speaks
WebDriver over HTTP itself, so that no package has to be installed.
"""

import base64
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ARROW_RIGHT = "\ue014"
# Two layers of different widths.
WIDTHS = [24, 16]
TEXT = 'the fog said "come in" on little feet (it sits),\n\tlooks 3 times and then "moves" on.\n' * 40
SIZES = {"wide": (1280, 1400), "narrow": (390, 844)}


class Browser:
    def __init__(self, port, profile):
        self.address = f"http://127.0.0.1:{port}"
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                     "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]
        wanted = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": {"args": arguments}}
        self.path = ""
        session = self.post("/session", {"capabilities": {"alwaysMatch": wanted}})
        self.path = "/session/" + session["sessionId"]

    def request(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        call = urllib.request.Request(self.address + self.path + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(call, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.read().decode()}")

    def post(self, path, body):
        return self.request("POST", path, body)

    def open(self, page):
        self.post("/url", {"url": page.resolve().as_uri()})

    def look(self, size, scheme):
        width, height = size
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.post("/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": sizes})
        scheme = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.post("/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": scheme})

    def run(self, script):
        return self.post("/execute/sync", {"script": script, "args": []})

    def element(self, selector):
        return next(iter(self.post("/element", {"using": "css selector", "value": selector}).values()))

    def click(self, selector):
        self.post(f"/element/{self.element(selector)}/click", {})

    def type(self, selector, text):
        self.post(f"/element/{self.element(selector)}/value", {"text": text})

    def hover(self, selector):
        origin = {"element-6066-11e4-a52e-4f735466cecf": self.element(selector)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        actions = [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": [move]}]
        self.post("/actions", {"actions": actions})

    def messages(self):
        return [entry["message"] for entry in self.post("/se/log", {"type": "browser"})]

    def screenshot(self, path):
        size = self.run("return [innerWidth, Math.min(document.documentElement.scrollHeight, 6000)]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        shot = {"cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": True, "clip": clip}}
        path.write_bytes(base64.b64decode(self.post("/goog/cdp/execute", shot)["data"]))


def write_pages(ifog, folder):
    """The pages by their commands."""
    (folder / "fog.txt").write_text(TEXT)

    def run(*arguments):
        done = subprocess.run([ifog, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"ifog {' '.join(arguments)}: {done.stderr}"

    widths = ",".join(map(str, WIDTHS))
    run("train", "fog.txt", "--out", "run", "--hidden", widths, "--steps", "60", "--batch", "8", "--seq-len", "20", "--quiet")
    run("view", "run", "fog.txt", "--length", "400", "--layer", "0", "--out", "view.html")
    run("flow", "run", "--untrained", "--text", "fog.txt", "--lags", "40", "--positions", "8", "--out", "flow.html")
    run("compare", "fog.txt", "--hidden", "16", "--budget", "2", "--batch", "8", "--out", "compare.html")
    run("task", "order", "--length", "20", "--hidden", "16", "--sequences", "2000", "--out", "task.html")
    pages = {name: folder / f"{name}.html" for name in ["view", "flow", "compare", "task"]}
    return {"train": folder / "run" / "report.html", **pages}


def check_looks(browser, name, page, screenshots):
    browser.open(page)
    for width, size in SIZES.items():
        for scheme in ["light", "dark"]:
            browser.look(size, scheme)
            inner, outer = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
            assert inner <= outer, f"{name}: {inner} pixels wide in a window of {outer}"
            if screenshots:
                browser.screenshot(screenshots / f"{name}-{width}-{scheme}.png")
    messages = browser.messages()
    assert not messages, f"{name}: the console has messages: {messages}"


# For every character: the colour that the browser shows, and the value that asks for it.
COLOURS = """
const bytes = Uint8Array.from(atob(channel().values), c => c.charCodeAt(0));
const values = new Int8Array(bytes.buffer);
return [...document.getElementById('text').children].map((span, t) =>
  [getComputedStyle(span).backgroundColor, values[t * layer().hidden + chosen.unit] / 127]);
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


def check_view(browser, page):
    browser.look(SIZES["wide"], "light")
    browser.open(page)
    unit = "return chosen.unit"
    first, units = browser.run(unit), WIDTHS[0]
    strips = browser.run("return [...document.querySelectorAll('#found .strips')].map((cell) => cell.children.length)")
    assert len(strips) > 4 and set(strips) == {2}, f"every finding has its unit and its feature as strips: {strips}"
    wide, shown = browser.run("const t = document.getElementById('found'); return [t.scrollWidth, t.parentNode.clientWidth]")
    assert wide <= shown, f"the findings take {wide} of {shown} pixels"
    count = check_colours(browser)
    browser.click("#next")
    assert browser.run(unit) == (first + 1) % units, "a click on next changes the unit"
    browser.type("#text", ARROW_RIGHT)
    assert browser.run(unit) == (first + 2) % units, "an arrow key changes the unit"
    check_colours(browser)
    browser.click(f"#units button:nth-child({units})")
    assert browser.run(unit) == units - 1, "a click on a strip chooses its unit"
    browser.type("#text", "l")
    assert browser.run("return [chosen.layer, chosen.unit]") == [1, WIDTHS[1] - 1], "a narrower layer has its own last unit"
    assert browser.run("return document.querySelectorAll('#units button').length") == WIDTHS[1]
    check_colours(browser)
    browser.type("#text", "q")
    assert browser.run("return channel().name") == "c", "a key changes the quantity"
    check_colours(browser)
    browser.run("window.scrollTo(0, 0)")
    browser.hover("#text span:nth-child(5)")
    status = browser.run("return document.getElementById('status').textContent")
    assert "next" in status and "%" in status, f"hovering shows the value: {status!r}"
    browser.type("#text", "jj")
    status = browser.run("return document.getElementById('status').textContent")
    assert status.startswith(json.dumps(TEXT[6])), f"a key goes to the character after the next: {status!r}"
    messages = browser.messages()
    assert not messages, f"the console has messages: {messages}"
    return count


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(ifog, screenshots):
    if screenshots:
        screenshots.mkdir(parents=True, exist_ok=True)
    port = free_port()
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            pages = write_pages(ifog, folder)
            browser = Browser(port, folder / "profile")
            for name, page in pages.items():
                check_looks(browser, name, page, screenshots)
            count = check_view(browser, pages["view"])
            browser.request("DELETE", "")
        print(f"{', '.join(pages)}: {len(SIZES)} sizes, light and dark, and {count} coloured characters: all checks passed")
    finally:
        driver.terminate()
        driver.wait()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    missing = [program for program in ["chromium", "chromedriver"] if not shutil.which(program)]
    if missing:
        print(f"skipped: {' and '.join(missing)} not found; pages are checked where Debian's chromium-driver is installed")
    else:
        main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else None)
