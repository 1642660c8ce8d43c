"""`python -m segframe ui`: the server it starts, seen with a real browser."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from segframe.errors import SegframeError
from segframe.plugins.mlflow_tracker import build_mlflow
from segframe.plugins.ui_command import run

RATES = {"rate-low": 1e-4, "rate-middle": 3e-4, "rate-high": 1e-3}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BROWSER_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1500,900 --virtual-time-budget=20000 --dump-dom"
).split()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """(runs_dir, {run name: run id}) of a sweep with three runs."""
    runs_dir = tmp_path_factory.mktemp("store") / "Meine Läufe"
    tracker = build_mlflow(uri=f"sqlite:///{runs_dir}/mlflow.db")
    parent, ids = tracker.open_sweep("sweep of rates", {}), {}
    for name, rate in RATES.items():
        with tracker.run(runs_dir / name, name, parent) as tracked:
            tracked.params({"optimizer.learning_rate": rate, "optimizer.name": "adam"})
            tracked.epochs({n: {"train/loss": 1 / n, "val/dice": 1 - rate / n} for n in (1, 2, 3)})
            tracked.final({"final/val/dice": 1 - rate})
            tracked.file(runs_dir / name / "tracker.json", "notes")
        ids[name] = tracked.run_id
    tracker.close_sweep(parent, "FINISHED", {})
    return runs_dir, ids


@pytest.fixture(scope="module")
def served(sweep):
    """The address of the verb's server; afterwards, that Ctrl-C leaves no process behind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import signal, sys; from segframe.plugins.ui_command import run; "
        # A shell starts what is in the background without.
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--runs-dir", str(sweep[0]), "--port", str(port)]
    verb = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = verb.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line
        (server,) = children(verb.pid)
        yield f"http://127.0.0.1:{port}"
        verb.send_signal(signal.SIGINT)
        assert verb.wait(30) == 0
        assert not members(server)
    finally:
        if verb.poll() is None:
            verb.terminate()
            verb.wait(30)


def processes():
    """(pid, parent, process group) of everything that runs."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [(int(pid), int(parent), int(group)) for pid, parent, group, state in rows if state[0] != "Z"]


def children(pid):
    return [child for child, parent, _ in processes() if parent == pid]


def members(group):
    return [pid for pid, _, of in processes() if of == group]


def dom(address, folder):
    """The page's DOM, once its scripts have had 20 seconds of the browser's own time."""
    command = [CHROMIUM, *BROWSER_FLAGS, f"--user-data-dir={folder}", address]
    browser = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        return browser.communicate(timeout=120)[0]
    finally:
        if members(browser.pid):
            os.killpg(browser.pid, signal.SIGKILL)


def dom_with(address, words, folder):
    """The DOM after up to three tries, since a busy machine may be late with an answer."""
    for attempt in range(3):
        page = dom(address, folder / str(attempt))
        if all(word in page for word in words):
            break
    return page


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (Debian: apt-get install chromium)")
def test_a_browser_lists_the_sweeps_runs_and_compares_their_learning_rates(served, sweep, tmp_path):
    _, ids = sweep
    # Sorted by a score, MLflow lists runs flat; by time, it folds them into their sweep.
    listed = f"{served}/#/experiments/1/runs?orderByKey={quote('metrics.`final/val/dice`')}&orderByAsc=false"
    page = dom_with(listed, ids, tmp_path / "listed")
    assert [name for name in ids if name in page] == list(ids)
    runs = quote(json.dumps(list(ids.values())))
    compared = f"{served}/#/compare-runs?runs={runs}&experiments=%5B%221%22%5D"
    rates = [str(rate) for rate in RATES.values()]
    page = dom_with(compared, [*ids, *rates], tmp_path / "compared")
    assert "optimizer.learning_rate" in page
    assert [word for word in (*ids, *rates) if word in page] == [*ids, *rates]


def test_the_server_gives_out_a_runs_files(served, sweep):
    runs_dir, ids = sweep
    address = f"{served}/get-artifact?path=notes/tracker.json&run_uuid={ids['rate-low']}"
    with urlopen(address, timeout=30) as answer:
        assert answer.read() == (runs_dir / "rate-low" / "tracker.json").read_bytes()


def test_a_run_told_over_http_with_a_password_goes_on_under_its_id(served, tmp_path):
    """With models, files that the server hands through, and PostgreSQL: test_mlflow_server.py."""
    uri = served.replace("//", "//anna:geheim-47@")
    for told in (1, 2):
        tracker = build_mlflow(uri=uri, experiment="over HTTP")
        with tracker.run(tmp_path / "run", "name", parent="0" * 32) as run:
            run.params({f"key.{number}": number for number in range(120)})
            run.epochs({epoch: {"train/loss": 1 / epoch} for epoch in range(1, 300 * told)})
    client, experiment = tracker._connect()
    (found,) = client.search_runs([experiment])
    assert found.info.run_id == run.run_id and found.info.status == "FINISHED"
    assert len(found.data.params) == 120
    told = client.get_metric_history(run.run_id, "train/loss")
    assert [point.step for point in told] == list(range(1, 600))
    assert "geheim" not in (tmp_path / "run" / "tracker.json").read_text()


def test_the_server_answers_on_this_machine_only(served):
    port = int(served.rsplit(":", 1)[1])
    with open("/proc/net/tcp") as table:
        local = [line.split()[1] for line in table if line.split()[3] == "0A"]
    assert [address for address in local if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_a_taken_port_is_refused_at_once(served, sweep):
    started = time.monotonic()
    with pytest.raises(SegframeError, match=r"expected a free port, got .*\n.*--port"):
        run(["--runs-dir", str(sweep[0]), "--port", served.rsplit(":", 1)[1]])
    assert time.monotonic() - started < 1


def test_a_missing_store_is_refused_and_not_made(tmp_path):
    with pytest.raises(SegframeError, match=r"mlflow\.db: expected .*, got no such file\.\n.*--runs-dir"):
        run(["--runs-dir", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_a_server_that_runs_elsewhere_needs_no_ui_of_ours():
    with pytest.raises(SegframeError, match="browser") as refused:
        run(["--uri", "http://me:secret@host:5000"])
    assert "secret" not in str(refused.value)


def test_a_port_that_is_none_is_refused(sweep):
    with pytest.raises(SegframeError, match="--port: expected 1 to 65535, got 0"):
        run(["--runs-dir", str(sweep[0]), "--port", "0"])
