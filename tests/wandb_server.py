"""A small server that speaks as much of W&B's interface as an upload by wandb's own tool needs."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["WandBServer", "serve_wandb"]


class WandBServer:
    """What was uploaded."""

    def __init__(self) -> None:
        self.port = 0
        self.is_down = False
        self.runs: dict[str, dict[str, Any]] = {}
        """Run → what was last said of it."""
        self.files: dict[str, bytes] = {}
        self._streams: dict[str, dict[int, str]] = {}

    def read(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of a streamed file: of several of a number the last."""
        return [json.loads(text) for _, text in sorted(self._streams.get(name, {}).items())]

    def take_stream(self, body: Any) -> None:
        for name, part in (body.get("files") or {}).items():
            lines = self._streams.setdefault(name, {})
            lines.update({part["offset"] + number: text for number, text in enumerate(part["content"])})

    def answer(self, operation: str, wanted: dict[str, Any]) -> dict[str, Any]:
        name, project, entity = wanted.get("name"), wanted.get("project") or "uncategorized", wanted.get("entity")
        if operation == "UpsertBucket":
            self.runs.setdefault(str(name), {}).update({key: one for key, one in wanted.items() if one is not None})
            owner = {"id": "P", "name": project, "entity": {"id": "E", "name": entity or "somebody"}}
            bucket = {"id": "R", "name": name, "displayName": name, "config": "{}", "project": owner}
            return {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}
        if operation == "CreateRunFiles":
            address = f"http://127.0.0.1:{self.port}/upload"
            files = [{"name": file, "uploadUrl": f"{address}/{file}"} for file in wanted.get("files", ())]
            return {"createRunFiles": {"runID": "R", "uploadHeaders": [], "files": files}}
        return {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: WandBServer = self.server.wandb  # type: ignore[attr-defined]  # serve_wandb puts it there
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        answer: dict[str, Any] = {}
        if server.is_down:
            self._answer(400, {"errors": [{"message": "it is being repaired"}]})
            return
        if self.path.startswith("/graphql"):
            asked = json.loads(body)
            answer = {"data": server.answer(asked.get("operationName", ""), asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            server.take_stream(json.loads(body))
        elif self.path.startswith("/upload/"):
            server.files[self.path.removeprefix("/upload/")] = body
        self._answer(200, answer)

    do_PUT = do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        return

    def _answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a client that goes away."""


@contextmanager
def serve_wandb() -> Iterator[WandBServer]:
    """Serve until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    state = server.wandb = WandBServer()  # type: ignore[attr-defined]  # the handler looks there
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)
