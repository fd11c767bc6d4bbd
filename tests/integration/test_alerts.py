"""Alerts reach a real mail server and a real web server: once, also when these are away meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from trackers import find_free_port

from footplate.errors import InputError
from footplate.record.rundir import RunDir
from footplate.tracking.shipping.channels import Message, send_mail, send_webhook

Footplate = Callable[..., CompletedProcess[str]]

_NETWORK = """
import torch
from torch import nn

class Doomed(nn.Module):
    '''Has no memory for more than 20 samples in its fourth pass, and fails in the ninth.'''

    def __init__(self, hidden_size=8, num_layers=1):
        super().__init__()
        self.last, self.passes = nn.Linear(4, 3), 0

    def forward(self, x):
        self.passes += self.training
        if self.passes >= 9:
            raise RuntimeError("the sensor at 192.0.2.77 is gone")
        if self.passes >= 4 and self.training and len(x) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return self.last(x)
"""
_PROFILE = """
model: {architecture: "doomed:Doomed"}
data: {train_data: "sklearn:iris"}
device: cpu
training: {max_epochs: 4, batch_size: 40, log_frequency: 1}
compliance: {anonymize_logs: true}
monitoring:
  alerts: {enabled: true, email: team@example.org, smtp_url: "${env:SMTP_URL}", slack_webhook: "${env:HOOK}/slack",
    webhook: "${env:HOOK}/any"}
"""


class Web(ThreadingHTTPServer):
    """A web server that remembers what is posted, and answers as it is told to."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.answer = 200


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.answer == 200:
            self.server.posted.append((self.path, json.loads(body)))
        self.send_response(self.server.answer)
        self.end_headers()
        self.wfile.write(b"no such channel" if self.server.answer != 200 else b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web(find_free_port())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Mailbox:
    """A mail server."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.port = find_free_port()
        self._controller: Controller | None = None

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, EmailMessage, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    box.start()
    yield box
    box.stop()


def _train(folder: Path, footplate: Footplate, mailbox: Mailbox, web: Web) -> RunDir:
    (folder / "doomed.py").write_text(_NETWORK)
    (folder / "profile.yaml").write_text(_PROFILE)
    footplate("train", "profile.yaml", timeout=200, check=1, env=_get_environment(mailbox, web))
    return RunDir(path=next(folder.glob("runs/*-*")))


def _get_environment(mailbox: Mailbox, web: Web) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": "1",
        "SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}",
        "HOOK": f"http://127.0.0.1:{web.server_port}",
    }


def test_each_channel_is_told_once_what_went_wrong(
    tmp_path: Path, footplate: Footplate, mailbox: Mailbox, web: Web
) -> None:
    run = _train(tmp_path, footplate, mailbox, web)
    told = [alert for path, value in web.posted for alert in value.get("alerts", ()) if path == "/any"]
    assert [alert["rule"] for alert in told] == ["memory", "failed"]
    assert told[0]["text"] == "out of memory: it goes on in batches of 20 instead of 40"
    assert told[0]["step"] == 4
    assert "the sensor at <ip> is gone" in told[1]["text"]
    slack = "\n".join(value["text"] for path, value in web.posted if path == "/slack")
    assert slack.count("memory: out of memory: it goes on in batches of 20 instead of 40, step 4") == 1
    assert f"footplate status {run.id[-6:]}" in slack
    bodies = "\n".join(mail.get_content() for mail in mailbox.mails)
    assert bodies.count("failed: failed: user_error") == 1
    assert mailbox.mails[0]["To"] == "team@example.org"
    assert mailbox.mails[0]["Subject"].startswith(f"{run.id}: memory: out of memory")
    assert "192.0.2.77" not in slack + bodies
    footplate("sync", run.id, env=_get_environment(mailbox, web), check=0)
    assert len([path for path, _ in web.posted if path == "/any"]) == len(mailbox.mails)
    assert bodies == "\n".join(mail.get_content() for mail in mailbox.mails)


def test_what_could_not_be_told_is_told_by_a_sync(
    tmp_path: Path, footplate: Footplate, mailbox: Mailbox, web: Web
) -> None:
    """The mail server is away and Slack refuses: the third channel is told at once, these two later, each once."""
    mailbox.stop()
    web.answer = 404
    run = _train(tmp_path, footplate, mailbox, web)
    status = footplate("status", run.id, check=None).stdout
    assert "not told yet" in status
    assert "footplate sync" in status
    for path in run.path.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".txt"):
            assert f"{web.server_port}/slack" not in path.read_text(errors="replace"), path
    mailbox.start()
    web.answer = 200
    footplate("sync", run.id, env=_get_environment(mailbox, web), check=0)
    told = [alert["rule"] for path, value in web.posted for alert in value.get("alerts", ())]
    assert told == ["memory", "failed"]
    slack = "\n".join(value["text"] for path, value in web.posted if path == "/slack")
    mails = "\n".join(mail.get_content() for mail in mailbox.mails)
    for text in (slack, mails):
        starts = [line.partition(":")[0] for line in text.splitlines()]
        assert (starts.count("memory"), starts.count("failed")) == (1, 1)


def test_an_old_alert_is_no_news(tmp_path: Path, footplate: Footplate, mailbox: Mailbox, web: Web) -> None:
    web.answer = 500
    run = _train(tmp_path, footplate, mailbox, web)
    logbook = run.path / "shipping" / "alerts.json"
    value = json.loads(logbook.read_text())
    for alert in value["memory"]["waiting"]["webhook"]:
        alert["time"] = time.time() - 100_000
    logbook.write_text(json.dumps(value))
    web.answer = 200
    footplate("sync", run.id, env=_get_environment(mailbox, web), check=0)
    assert [value["alerts"][0]["rule"] for path, value in web.posted if path == "/any"] == ["failed"]
    assert len([path for path, _ in web.posted if path == "/slack"]) == 2
    assert "alerts of more than a day ago" in (run.path / "shipping" / "log.txt").read_text()


def test_addresses_that_cannot_be(mailbox: Mailbox, web: Web) -> None:
    message = Message(title="t", lines=["l"], fields={})
    with pytest.raises(InputError, match="no address of a mail server"):
        send_mail("127.0.0.1:25", "a@example.org", message)
    with pytest.raises(InputError, match="no http or https address"):
        send_webhook("file:///etc/passwd", {})
    web.answer = 404
    with pytest.raises(OSError, match=r"127\.0\.0\.1 answers 404 Not Found: no such channel") as caught:
        send_webhook(f"http://127.0.0.1:{web.server_port}/T0/secret", {})
    assert "secret" not in str(caught.value)
    with pytest.raises(OSError, match="AUTH extension not supported"):  # to this machine a password may go
        send_mail(f"smtp://me:pass@127.0.0.1:{mailbox.port}", "a@example.org", message)
