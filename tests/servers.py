"""Real servers for tests, on this machine: MLflow over HTTP, PostgreSQL."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SECRET = "Geheim-47-nowhere"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def answering(command, port, path, seconds=300, **options):
    """The command's process group, from its first answer at http://127.0.0.1:port/path to the end."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        give_up = time.monotonic() + seconds
        while True:
            assert process.poll() is None and time.monotonic() < give_up, f"{command} does not answer"
            try:
                with opener.open(f"http://127.0.0.1:{port}/{path}", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def mlflow_server(store, folder):
    """The address of `mlflow server`, which hands files through; they lie in folder / "files"."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--artifacts-destination", (folder / "files").as_uri()]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env = {**os.environ, **quiet, "MLFLOW_BACKEND_STORE_URI": store}
    with (folder / "server.log").open("w") as log:
        with answering(command, port, "health", cwd=folder, env=env, stdout=log, stderr=log):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def postgresql():
    """The address of an empty database, with SECRET as the password; skips where there is no PostgreSQL."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install -e '.[postgres]')")
    tools = Path(shutil.which("initdb") or max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=""))
    if not tools.name:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    tools, port = tools.resolve().parent, free_port()
    # It refuses to run as root.
    who = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="segframe-postgresql-"))
    try:
        (folder / "password").write_text(SECRET)
        for path in (folder, folder / "password"):
            shutil.chown(path, *who.values()) if who else None
        logged = {"cwd": folder, "stdout": subprocess.DEVNULL, "check": True, **who}
        subprocess.run(
            [tools / "initdb", "-D", folder / "data", "-U", "anna", "--auth=scram-sha-256",
             f"--pwfile={folder}/password", "--no-sync", "-E", "UTF8"],
            **logged,
        )  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        control = [tools / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w"]
        subprocess.run([*control, "-t", "300", "-o", options, "start"], **logged)
        try:
            yield f"postgresql://anna:{SECRET}@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **logged)
    finally:
        shutil.rmtree(folder)
