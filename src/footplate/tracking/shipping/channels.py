"""Ways to tell somebody: mail over SMTP, a Slack-compatible webhook, any webhook."""

from __future__ import annotations

import ipaddress
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from footplate.errors import InputError

__all__ = ["Message", "send_mail", "send_webhook"]

_LIMIT_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is told, in the forms that channels need."""

    title: str
    lines: Sequence[str]
    fields: Mapping[str, Any]
    """The same for machines."""

    def to_text(self) -> str:
        """Return title and lines as plain text."""
        return "\n".join([self.title, *self.lines])


def send_mail(server: str, to: str, message: Message) -> None:
    """Send a mail by ``smtp://`` (TLS where it is offered) or ``smtps://[USER:PASSWORD@]HOST[:PORT]``.

    A password is sent over TLS only, or to this machine. Raises InputError for what is no such address, and what
    smtplib and sockets raise.
    """
    place = urlsplit(server)
    if place.scheme not in ("smtp", "smtps") or not place.hostname:
        raise InputError(
            "monitoring.alerts.smtp_url is no address of a mail server",
            hint="write ${env:SMTP_URL}, and in that smtps://user:password@host:465 or smtp://host:25",
        )
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.title, f"Footplate <{to.partition(',')[0].strip()}>", to
    mail.set_content("\n".join(message.lines) + "\n")
    secure = ssl.create_default_context()
    if place.scheme == "smtps":
        with smtplib.SMTP_SSL(place.hostname, place.port or 465, timeout=_LIMIT_S, context=secure) as tls:
            _hand_over(tls, place, mail, is_secret=True)
        return
    with smtplib.SMTP(place.hostname, place.port or 25, timeout=_LIMIT_S) as plain:
        plain.ehlo()
        is_secret = plain.has_extn("starttls")
        if is_secret:
            plain.starttls(context=secure)
        _hand_over(plain, place, mail, is_secret=is_secret)


def send_webhook(url: str, value: Mapping[str, Any]) -> None:
    """Post JSON to a URL; any answer of 200 to 299 is a success. Raises InputError, or what urllib raises."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError("a webhook of monitoring.alerts is no http or https address")
    request = urllib.request.Request(  # noqa: S310  # looked at above
        url,
        json.dumps(value, ensure_ascii=False).encode(),
        {"Content-Type": "application/json; charset=utf-8", "User-Agent": "footplate"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_LIMIT_S) as answer:  # noqa: S310  # looked at above
            answer.read(1000)
    except urllib.error.HTTPError as error:
        with error:
            words = error.read(200).decode("utf-8", "replace").strip()
        # The address may be a secret in itself: it is not told.
        raise OSError(f"{urlsplit(url).hostname} answers {error.code} {error.reason}: {words}") from None
    except urllib.error.URLError as error:
        raise OSError(f"{urlsplit(url).hostname}: {error.reason}") from None


def _hand_over(server: smtplib.SMTP, place: SplitResult, mail: EmailMessage, *, is_secret: bool) -> None:
    if place.username:
        if not is_secret and not _is_here(place.hostname or ""):
            raise InputError(
                f"the mail server {place.hostname} offers no TLS: the password is not sent", hint="use smtps://"
            )
        server.login(unquote(place.username), unquote(place.password or ""))
    server.send_message(mail)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
