"""A real MLflow server, and a door before it that can be shut, slow, broken or deaf."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

__all__ = ["Door", "ask_mlflow", "find_free_port", "open_door", "run_mlflow"]

_LIMIT_S = 120.0


@contextmanager
def run_mlflow(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server with its store in ``folder`` until the block ends."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/store.db", "--artifacts-destination", str(folder / "files")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_healthy(process, port, folder / "server.log")
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_LIMIT_S)


def ask_mlflow(port: int, path: str, body: Mapping[str, object] | None = None, **query: object) -> dict[str, Any]:
    """Return the answer of MLflow's REST API, without MLflow's own client; a body is posted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(
            "GET" if body is None else "POST",
            f"/api/2.0/mlflow/{path}?{urlencode(query)}",
            None if body is None else json.dumps(body),
            {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return dict(json.loads(text))
    finally:
        connection.close()


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise AssertionError(f"the server did not start: {log.read_text()}")


def find_free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Door:
    """Passes requests on to a server, or not."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self.fault = ""
        """``500``, ``507`` (no room), ``deaf`` (the server does it, the answer is lost), ``shut``; empty: none."""
        self.after = 0
        """So many batches of metrics are passed on before the fault begins."""
        self.slow_s = 0.0
        self.batches = 0
        """Batches of metrics that were passed on to the server."""


class _Handler(BaseHTTPRequestHandler):
    """Passes one connection's requests on."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass_on()

    do_POST = do_PUT = do_PATCH = do_GET

    def log_message(self, *_: Any) -> None:
        return

    def _pass_on(self) -> None:
        door: Door = self.server.door  # type: ignore[attr-defined]  # open_door puts it there
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_batch = self.path.endswith("/log-batch") and b'"metrics": [{' in body
        fault = door.fault if door.batches >= door.after else ""
        time.sleep(door.slow_s)
        if fault == "shut":
            self.close_connection = True
            return
        if fault in ("500", "507"):
            self._answer(int(fault), b'{"error_code": "INTERNAL_ERROR", "message": "no room left on the disk"}')
            return
        status, answer = self._ask(body, door.target)
        door.batches += is_batch
        if fault == "deaf":
            self.close_connection = True
            return
        self._answer(status, answer)

    def _ask(self, body: bytes, port: int) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, b"{}"
        finally:
            connection.close()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def open_door(target: int) -> Iterator[Door]:
    """Open a door before a server; it is closed when the block ends."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    door = server.door = Door(server.server_address[1], target)  # type: ignore[attr-defined]  # the handler looks there
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield door
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_LIMIT_S)
