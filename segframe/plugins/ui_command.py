"""`python -m segframe ui`: MLflow's web pages over the runs, on this machine only, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins.mlflow_store import SQLITE, absolute, database, for_mlflow, quiet, without_password
from segframe.verb_parser import VerbParser

HOST = "127.0.0.1"
START_S, STOP_S = 180, 10


@hookimpl
def segframe_commands() -> dict[str, tuple[str, Callable[[list[str]], int]]]:
    return {"ui": ("open the MLflow UI on the runs of this folder", run)}


def run(argv: list[str]) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        SegframeError: there is no store, the port is taken, or the server did not come up.
    """
    parser = VerbParser(prog="python -m segframe ui", description=__doc__)
    parser.add_argument("--runs-dir", default="runs", help="folder that holds mlflow.db (default: runs)")
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (default: 5000)")
    parser.add_argument("--uri", help="another store, such as sqlite:///PATH; goes before --runs-dir")
    options = parser.parse_args(argv)
    uri = absolute(options.uri or f"{SQLITE}{options.runs_dir}/mlflow.db")
    _check_store(uri)
    _check_port(options.port)
    return _serve(uri, options.port)


def _check_store(uri: str) -> None:
    file = database(uri)
    if file is not None and not file.is_file():
        raise SegframeError(
            str(file),
            expected="the MLflow store of some runs",
            got="no such file",
            remedy="Run something first (python -m segframe) or name the folder of the runs: --runs-dir DIR.",
        )
    if uri.startswith("http"):
        raise SegframeError(
            "--uri",
            expected="a store that is not served yet",
            got=without_password(uri),
            remedy="An MLflow server runs there already: open that address in a browser.",
        )


def _check_port(port: int) -> None:
    if not 0 < port < 65536:
        raise SegframeError("--port", expected="1 to 65535", got=str(port), remedy="Give --port 5001.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise SegframeError(
                f"{HOST}:{port}",
                expected="a free port",
                got=str(error.strerror or error).lower(),
                remedy=f"Give another one: --port {port + 1 if port < 65535 else 5001}.",
            ) from error


def _command(uri: str, port: int) -> list[str]:
    file = database(uri)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    if file is not None:
        artifacts = (file.parent / "artifacts").as_uri()
        command += ["--default-artifact-root", artifacts, "--artifacts-destination", artifacts]
    return command


def _serve(uri: str, port: int) -> int:
    quiet()
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # seven idle processes
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    # A session of its own: the terminal's Ctrl-C reaches us alone, and we end the server and its workers.
    # The store's address goes by the environment: it may hold a password, and options are for all to see.
    server = subprocess.Popen(
        _command(uri, port),
        env={**os.environ, "MLFLOW_BACKEND_STORE_URI": for_mlflow(uri)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _wait_until_up(server, port)
        print(f"MLflow UI: http://{HOST}:{port}   (Ctrl-C ends it)", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)
        signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _wait_until_up(server: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + START_S
    # No proxy: the address is this machine's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < give_up and server.poll() is None:
        try:
            with opener.open(f"http://{HOST}:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    state = f"exit code {server.poll()}" if server.poll() is not None else f"no answer in {START_S} s"
    raise SegframeError(
        "MLflow's server",
        expected=f"an answer on {HOST}:{port}",
        got=state,
        remedy="Its own message stands above.",
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server's whole process group, politely first."""
    for politeness in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, politeness)
            server.wait(STOP_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
