#!/usr/bin/env python3
"""Opens the pages that ifog writes in headless Chromium and does what their reader does.

usage: check_view.py IFOG [SCREENSHOTS]

Trains a small model and writes the pages of `train`, `view`, `flow`, `compare`, `task` and `forecast` with the binary IFOG. Checks of
each, wide and narrow, light and dark: no message in the console, nothing wider than the window, and in a wide one no table that has to be
scrolled. Of `ifog view`: layer and unit change by click and by keyboard, and the focus goes with them; the colour behind every
character is that of its value in both palettes, and the character stands out from it; hovering shows the value and the candidates; a long
text has strips; without a script the page says what it shows. SCREENSHOTS is a folder for pictures of all.

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

ARROW_LEFT, ARROW_RIGHT = "\ue012", "\ue014"
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

    def scripts(self, run):
        self.post("/goog/cdp/execute", {"cmd": "Emulation.setScriptExecutionDisabled", "params": {"value": not run}})

    def press(self, keys):
        """Keys for what has the focus."""
        focus = next(iter(self.request("GET", "/element/active").values()))
        self.post(f"/element/{focus}/value", {"text": keys})

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
    run("flow", "--toy", "--out", "toy.html")
    run("forecast", "--example", "sine", "--steps", "60", "--seeds", "2", "--out", "forecast.html")
    pages = {name: folder / f"{name}.html" for name in ["view", "flow", "compare", "task", "toy", "forecast"]}
    (folder / "long.txt").write_text(TEXT * 21)
    run("view", "run", "long.txt", "--length", "70000", "--search", "400", "--layer", "1", "--unit", "3", "--out", "long.html")
    return {"train": folder / "run" / "report.html", **pages}


# Of each table: how wide it is, and how much of that is seen.
TABLES = "return [...document.querySelectorAll('table')].map((t) => [t.scrollWidth, t.parentNode.clientWidth])"


def check_looks(browser, name, page, screenshots):
    browser.open(page)
    for width, size in SIZES.items():
        for scheme in ["light", "dark"]:
            browser.look(size, scheme)
            inner, outer = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
            assert inner <= outer, f"{name}: {inner} pixels wide in a window of {outer}"
            for table, shown in browser.run(TABLES):
                assert table <= shown or width != "wide", f"{name}: a table takes {table} of {shown} pixels"
            if screenshots:
                browser.screenshot(screenshots / f"{name}-{width}-{scheme}.png")
    messages = browser.messages()
    assert not messages, f"{name}: the console has messages: {messages}"


# For every character: the colour that the browser shows, that of the letter and of the paper, and the value that asks for it.
COLOURS = """
const bytes = Uint8Array.from(atob(channel().values), c => c.charCodeAt(0));
const values = new Int8Array(bytes.buffer);
const paper = getComputedStyle(document.body).backgroundColor;
return [...document.getElementById('text').children].map((span, t) => {
  const { backgroundColor, color } = getComputedStyle(span);
  return [backgroundColor, color, paper, values[t * layer().hidden + chosen.unit] / 127];
});
"""
HUES = {"red": ([220, 50, 47], [38, 100, 220]), "orange": ([230, 145, 0], [0, 114, 178])}


def luminance(rgb):
    """Of WCAG 2."""
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in (part / 255 for part in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def check_colours(browser, palette="red"):
    def numbers(colour):
        return [float(x) for x in colour[colour.index("(") + 1:-1].split(",")]

    shown = browser.run(COLOURS)
    assert len(shown) > 10, "the page shows no text"
    for colour, letter, paper, value in shown:
        parts = numbers(colour)
        hue, alpha = parts[:3], parts[3] if len(parts) > 3 else 1.0
        assert abs(alpha - abs(value)) < 0.01, f"{colour} for {value}"
        assert hue == HUES[palette][value < 0] or alpha == 0, f"{colour} for {value}"
        mixed = [p + alpha * (c - p) for p, c in zip(numbers(paper), hue)]
        dark, bright = sorted([luminance(mixed), luminance(numbers(letter))])
        contrast = (bright + 0.05) / (dark + 0.05)
        assert contrast >= 4.5, f"{letter} on {colour} on {paper}: a contrast of {contrast:.2f}"
    return len(shown)


def check_view(browser, page):
    browser.look(SIZES["wide"], "light")
    browser.open(page)
    unit = "return chosen.unit"
    first, units = browser.run(unit), WIDTHS[0]
    strips = browser.run("return [...document.querySelectorAll('#found .strips')].map((cell) => cell.children.length)")
    assert len(strips) > 4 and set(strips) == {2}, f"every finding has its unit and its feature as strips: {strips}"
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
    check_keys(browser)
    browser.click("#palette")
    words = browser.run("return document.querySelector('#positive').parentNode.textContent")
    assert words == "orange is positive, blue negative", words
    for quantity in [0, 2, 3]:
        browser.run(f"choose({{ quantity: {quantity} }})")
        for scheme in ["light", "dark"]:
            browser.look(SIZES["wide"], scheme)
            check_colours(browser, "orange")
    browser.click("#palette")
    check_colours(browser)
    browser.look(SIZES["wide"], "light")
    messages = browser.messages()
    assert not messages, f"the console has messages: {messages}"
    return count


def check_keys(browser):
    """The focus stays where it was, and keys keep their meaning wherever it is."""
    focus = "return [...document.getElementById('units').children].indexOf(document.activeElement)"
    stops = "return [...document.querySelectorAll('#units button')].filter((button) => button.tabIndex === 0).length"
    unit = "return chosen.unit"
    browser.click("#units button:nth-child(6)")
    for keys, place in [("l", 5), ("q", 5), (ARROW_RIGHT, 6), (ARROW_LEFT, 5)]:
        browser.press(keys)
        found = browser.run(focus), browser.run(unit), browser.run(stops)
        assert found == (place, place, 1), f"after {keys!r} the focus, the unit and the tab stops are {found}"
    browser.click("#palette")
    browser.press(ARROW_RIGHT)
    assert browser.run(unit) == 6, "an arrow changes the unit after a click on the palette"
    browser.click("#palette")
    browser.type("#unit", ARROW_RIGHT)
    assert browser.run(unit) == 6, "in a field an arrow moves the cursor"
    browser.type("#found button", ARROW_RIGHT)
    assert browser.run(unit) == 7, "an arrow in a table that is seen as a whole changes the unit"
    browser.look(SIZES["narrow"], "light")
    browser.type("#found button", ARROW_RIGHT)
    assert browser.run(unit) == 7, "an arrow in a table that can be scrolled scrolls it"
    browser.look(SIZES["wide"], "light")


# The last pixel of the first strip: red, green, blue, opacity.
LAST_PIXEL = """
const strip = document.querySelector('#units canvas');
return [...strip.getContext('2d').getImageData(strip.width - 1, 0, 1, 1).data];
"""


def check_long(browser, page):
    """Strips of more characters than a canvas has pixels."""
    browser.open(page)
    assert browser.run("return spans.length") > 65535
    assert browser.run(LAST_PIXEL)[3] > 0, "a strip of a long text is blank"


def check_scriptless(browser, page, screenshots):
    """What is shown by the file alone."""
    browser.scripts(False)
    browser.open(page)
    shown = browser.run("return ['layer', 'quantity', 'unit'].map((id) => document.getElementById(id).value)")
    assert shown == ["1", "0", "3"], f"without a script the page shows {shown}"
    ramp = browser.run("return getComputedStyle(document.getElementById('ramp')).backgroundImage")
    assert "rgb(220, 50, 47)" in ramp, f"without a script the legend is {ramp}"
    seen = browser.run("return [...document.querySelectorAll('.scripted')].filter((part) => part.offsetParent).length")
    assert seen == 0, "what needs a script is hidden without one"
    if screenshots:
        browser.screenshot(screenshots / "view-scriptless.png")
    browser.scripts(True)


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
            check_long(browser, folder / "long.html")
            check_scriptless(browser, folder / "long.html", screenshots)
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
