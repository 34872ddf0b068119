"""Deliver a message to a webhook: one POST, to an address that was checked."""

import os
import socket
import ssl
from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from stormcell.alerts.addresses import Resolve, allowed, resolve
from stormcell.alerts.alert_store import Message
from stormcell.alerts.messages import headers
from stormcell.alerts.rules import Webhook
from stormcell.errors import StormcellError

_SECONDS = 10.0  # to connect, and between two parts of the answer


def deliver(webhook: Webhook, message: Message, now: datetime, *, resolve: Resolve = resolve) -> str | None:
    """Send a message.

    Redirections are not followed, because they could lead to an address that was not checked.

    Returns:
        None if the receiver has it: its status is 2xx. Otherwise the reason, such as ``status 500``.
    """
    secret = None if webhook.secret_env is None else os.environ.get(webhook.secret_env)
    try:
        status = _post(webhook, message.body, headers(message, secret, now), resolve)
    except (StormcellError, HTTPException, OSError) as error:
        return str(error) or type(error).__name__
    return None if 200 <= status < 300 else f"status {status}"


def _post(webhook: Webhook, body: bytes, headers: Mapping[str, str], resolve: Resolve) -> int:
    parts = urlsplit(webhook.url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    addresses = allowed(host, port, private=webhook.allow_private, resolve=resolve)
    connection = HTTPSConnection(host, port) if secure else HTTPConnection(host, port)
    try:
        # Not by name: that would ask for the address again, after it was checked.
        plain = _connect(addresses, port)
        connection.sock = _secured(plain, host) if secure else plain
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        connection.request("POST", path, body, {**headers, "user-agent": "stormcell"})
        return connection.getresponse().status
    finally:
        connection.close()


def _connect(addresses: list[str], port: int) -> socket.socket:
    failure = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=_SECONDS)
        except OSError as error:
            failure = error
    raise failure


def _secured(plain: socket.socket, host: str) -> ssl.SSLSocket:
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
