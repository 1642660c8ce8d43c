"""Pictures of MLflow's pages over the runs of a folder, taken with Chromium without a screen.

    python -m segframe -m optimizer=adam,sgd optimizer.learning_rate=1e-3,1e-2 seed=0,1 model.filters=4 \\
        model.depth=2 train.epochs=8
    python benchmarks/mlflow_pictures.py runs docs

writes docs/mlflow_runs.png, the runs with their curves, and docs/mlflow_compare.png, the best of them side by
side. It needs Debian's chromium and chromium-driver.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from segframe.errors import SegframeError
from segframe.plugins.mlflow_tracker import build_mlflow

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1500,1100")
MOST_COMPARED = 4
BY = "metrics.`final/val/dice`"
CLOSE_ASSISTANT = """
for (const button of document.querySelectorAll('button[aria-label*="lose"]')) button.click()
"""
SHOW_DICE = """
const box = document.querySelector('input[placeholder="Search metric charts"]')
Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(box, '/dice$')
box.dispatchEvent(new Event('input', {bubbles: true}))
"""
SHOW_DIFFERENCES = """
for (const header of document.querySelectorAll('[role="button"], button'))
    if (['Visualizations', 'Run details'].includes(header.innerText.trim())) header.click()
for (const toggle of document.querySelectorAll('[role="switch"]')) toggle.click()
"""


class Browser:
    """Chromium, told what to do by the WebDriver protocol (https://www.w3.org/TR/webdriver2)."""

    def __init__(self, address: str, profile: str):
        self.address = address
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
        asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.session = self._post("session", asked)["sessionId"]

    def _post(self, path: str, body: dict) -> dict:
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(
            urllib.request.Request(f"{self.address}/{path}", data, headers), timeout=180
        ) as answer:
            return json.load(answer)["value"]

    def run(self, script: str) -> object:
        return self._post(f"session/{self.session}/execute/sync", {"script": script, "args": []})

    def open(self, page: str, word: str) -> None:
        """Go there, and wait until the page says the word."""
        self._post(f"session/{self.session}/url", {"url": page})
        give_up = time.monotonic() + 120
        while word not in str(self.run("return document.body.innerText")):
            assert time.monotonic() < give_up, f"{page} does not say {word}"
            time.sleep(1)

    def take(self, out: Path) -> None:
        """What is seen, as a PNG of at most 128 colours."""
        request = f"{self.address}/session/{self.session}/screenshot"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=180) as answer:
            png = base64.b64decode(json.load(answer)["value"])
        image = Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        image.save(out, optimize=True)
        print(f"{out}: {out.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs_dir", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--experiment", default="segframe")
    arguments = parser.parse_args()
    driver = shutil.which("chromedriver")
    if driver is None:
        raise SegframeError(
            "PATH",
            expected="chromedriver",
            got="none",
            remedy="Debian: apt-get install chromium chromium-driver.",
        )
    tracker = build_mlflow(uri=f"sqlite:///{arguments.runs_dir}/mlflow.db", experiment=arguments.experiment)
    client, experiment = tracker._connect()
    runs = client.search_runs(
        [experiment],
        "tags.`segframe.kind` = 'run' and attributes.status = 'FINISHED'",
        order_by=[f"{BY} DESC"],
    )
    ids = quote(json.dumps([run.info.run_id for run in runs[:MOST_COMPARED]]))
    listed = f"experiments/{experiment}/runs?compareRunsMode=CHART&orderByAsc=false&orderByKey={quote(BY)}"
    compared = f"compare-runs?runs={ids}&experiments={quote(json.dumps([experiment]))}"
    command = [sys.executable, "-m", "segframe", "ui", "--runs-dir", str(arguments.runs_dir), "--port"]
    with (
        tempfile.TemporaryDirectory() as profile,
        listening([*command, str(port := free_port())], f":{port}", signal.SIGINT),
        listening([driver, f"--port={(other := free_port())}"], "successfully", signal.SIGTERM),
    ):
        browser, ui = Browser(f"http://127.0.0.1:{other}", profile), f"http://127.0.0.1:{port}/#/"
        for page, word, script, name in (
            (listed, "matching runs", CLOSE_ASSISTANT + SHOW_DICE, "mlflow_runs.png"),
            (compared, runs[0].info.run_name, CLOSE_ASSISTANT + SHOW_DIFFERENCES, "mlflow_compare.png"),
        ):
            browser.open(f"{ui}{page}", word)
            time.sleep(10)  # curves come after words
            browser.run(script)
            time.sleep(5)
            browser.take(arguments.out / name)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def listening(command: list[str], word: str, end: signal.Signals) -> Iterator[None]:
    """The command while it runs, from when it prints the word."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and any(word in line for line in process.stdout), command
        yield
    finally:
        process.send_signal(end)
        process.wait()


if __name__ == "__main__":
    main()
