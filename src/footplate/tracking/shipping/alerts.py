"""Alerts: tells people by mail or webhook while a run goes wrong, each kind of thing at most every quarter of an hour.

An alert waits, in the run directory, until each channel has taken it; a later ``footplate sync`` sends what is left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

from footplate.errors import InputError
from footplate.record.clock import parse_utc
from footplate.record.state import RunState, Status
from footplate.tracking.shipping.alert_rules import Alert, Watch
from footplate.tracking.shipping.channels import Message, send_mail, send_webhook
from footplate.tracking.shipping.shipper import Context, Record

__all__ = ["AlertsShipper"]

_QUIET_S = 900.0
"""Between two messages of the same rule."""
_TOO_OLD_S = 86_400.0
"""An alert that could not be told for a day is news to nobody."""
_MOST_WAITING = 100


class AlertsShipper:
    """Tells the alerts of one run to its channels."""

    forgets_rewound: ClassVar[bool] = False

    def __init__(self) -> None:
        self._context: Context | None = None
        self._watch: Watch | None = None
        self._channels: dict[str, Callable[[Message], None]] = {}

    def open(self, context: Context) -> str:
        """Look who is to be told; return in words who that is."""
        settings = context.settings
        self._context = context
        self._channels, places = _make_channels(settings)
        self._watch = Watch(
            context.memory,
            started_at=parse_utc(context.info.created_at).timestamp(),
            price=settings.get("price_per_hour"),
            max_cost=settings.get("max_cost"),
        )
        return ", ".join(places)

    def ship(self, records: Sequence[Record]) -> None:
        """Find what is worth telling, and tell it."""
        assert self._watch is not None
        self._hold(self._watch.look(records))
        self._send()

    def close(self, status: Status | None) -> None:
        """Tell that the run has failed or is lost, and what is left."""
        assert self._context is not None
        memory = self._context.memory
        if status is not None and status.state in (RunState.failed, RunState.lost):
            key = f"end of attempt {status.attempt}"
            if memory.get("end") != key:
                memory["end"] = key
                text = "; ".join((f"{status.state}: {status.cause or 'no known cause'}", *status.evidence))
                self._hold([Alert(rule="failed", text=text, time=time.time())])
        self._send()

    def _hold(self, alerts: Any) -> None:
        """Put alerts into the queue of each channel, but for those of a rule that was told a moment ago."""
        assert self._context is not None
        memory = self._context.memory
        last: dict[str, float] = memory.setdefault("last", {})
        for alert in alerts:
            if alert.rule != "failed" and alert.time - last.get(alert.rule, float("-inf")) < _QUIET_S:
                memory.setdefault("quiet", {}).setdefault(alert.rule, 0)
                memory["quiet"][alert.rule] += 1
                continue
            last[alert.rule] = alert.time
            again = memory.setdefault("quiet", {}).pop(alert.rule, 0)
            value = {**asdict(alert), "text": self._context.clean_text(alert.text), "repeated": again}
            for channel in self._channels:
                queue = memory.setdefault("waiting", {}).setdefault(channel, [])
                queue.append(value)
                del queue[:-_MOST_WAITING]

    def _send(self) -> None:
        """Send each channel what waits for it, as one message; raise for the first that did not take it, at the end."""
        assert self._context is not None
        failure: Exception | None = None
        waiting: dict[str, list[dict[str, Any]]] = self._context.memory.setdefault("waiting", {})
        for channel, send in self._channels.items():
            queue = waiting.get(channel) or []
            news = [one for one in queue if time.time() - one["time"] < _TOO_OLD_S]
            if len(news) < len(queue):
                self._context.note(f"{channel}: {len(queue) - len(news)} alerts of more than a day ago were not sent")
            waiting[channel] = news
            if not news:
                continue
            try:
                send(self._make_message(news))
                waiting[channel] = []
            except Exception as error:  # noqa: BLE001  # the other channels are told all the same
                failure = failure or error
        if failure is not None:
            raise failure

    def _make_message(self, alerts: Sequence[Mapping[str, Any]]) -> Message:
        assert self._context is not None
        info = self._context.info
        first = alerts[0]
        more = f" (+{len(alerts) - 1})" if len(alerts) > 1 else ""
        lines = []
        for one in alerts:
            at = datetime.fromtimestamp(one["time"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            step = "" if one["step"] is None else f", step {one['step']:,}"
            again = f" ({one['repeated']} more since the last message)" if one["repeated"] else ""
            lines.append(f"{one['rule']}: {one['text']}{step}, {at}{again}")
        lines.append(
            f"footplate status {info.id[-6:]}, on {info.host}: {self._context.clean_text(str(self._context.run.path))}"
        )
        return Message(
            title=f"{info.id}: {first['rule']}: {first['text']}{more}"[:200],
            lines=lines,
            fields={
                "run_id": info.id,
                "name": info.name,
                "experiment": info.experiment,
                "host": info.host,
                "alerts": [
                    {"rule": one["rule"], "text": one["text"], "step": one["step"], "time": one["time"]}
                    for one in alerts
                ],
            },
        )


def _make_channels(settings: Mapping[str, Any]) -> tuple[dict[str, Callable[[Message], None]], list[str]]:
    """Return how to tell each channel, and in words who they are; InputError when there is none."""
    channels: dict[str, Callable[[Message], None]] = {}
    places = []
    if to := str(settings.get("email") or ""):
        server = str(settings.get("smtp_url") or os.environ.get("FOOTPLATE_SMTP_URL") or "smtp://localhost:25")
        channels["email"] = lambda message: send_mail(server, to, message)
        places.append(f"mail to {to}")
    if slack := str(settings.get("slack_webhook") or ""):
        channels["slack"] = lambda message: send_webhook(slack, {"text": message.to_text()})
        places.append(f"webhook of {urlsplit(slack).hostname}")
    if url := str(settings.get("webhook") or ""):
        channels["webhook"] = lambda message: send_webhook(url, message.fields)
        places.append(f"webhook of {urlsplit(url).hostname}")
    if not channels:
        raise InputError(
            "monitoring.alerts: nobody is told", hint="set email, slack_webhook or webhook in monitoring.alerts"
        )
    return channels, places
