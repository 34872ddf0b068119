"""Messages about alerts: CloudEvents 1.0, signed as Standard Webhooks describes."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime

from stormcell.alerts.alert_places import geometry
from stormcell.alerts.alert_store import Message
from stormcell.alerts.condition import Condition, Transition
from stormcell.alerts.rules import Rule
from stormcell.errors import ArgumentError
from stormcell.published.alerts import Alert
from stormcell.published.manifest import time_name, time_text

MEDIA_TYPE = "application/cloudevents+json"
_PREFIX = "whsec_"


def alert_of(rule: Rule, condition: Condition) -> Alert:
    """Return the state of a rule as ``alerts.json`` has it."""
    return Alert(
        rule=rule.name,
        title=rule.title or rule.name,
        severity=rule.severity,
        state=condition.state,
        is_open=condition.is_open,
        since=condition.since,
        value=condition.value,
        limit=rule.limit,
        units=rule.units,
        expected=condition.expected,
        peak=condition.peak,
        reason=condition.reason,
        geometry=geometry(rule.place),
    )


def message(rule: Rule, condition: Condition, transition: Transition, now: datetime) -> Message:
    """Return the message of a transition.

    Its id has the publication, the rule and the transition, so that receivers can drop repeats.
    """
    made = time_name(now) if condition.issue is None else f"{time_name(condition.issue)}/{condition.run}"
    name = f"{made}/{rule.name}/{transition}"
    event = {
        "specversion": "1.0",
        "id": name,
        "source": "urn:stormcell:alerts",
        "type": f"stormcell.alert.{transition}",
        "subject": rule.name,
        "time": time_text(now),
        "datacontenttype": "application/json",
        "data": {"transition": transition, **alert_of(rule, condition).model_dump(mode="json")},
    }
    return Message(name, json.dumps(event, ensure_ascii=False).encode(), now)


def headers(message: Message, secret: str | None, now: datetime) -> Mapping[str, str]:
    """Return the headers of a message, with its signature if there is a secret.

    Raises:
        ArgumentError: The secret is malformed.

    Example:
        >>> from datetime import UTC
        >>> made = Message("1", b"{}", datetime.now(UTC))
        >>> now = datetime(2026, 11, 28, tzinfo=UTC)
        >>> headers(made, "whsec_c3Rvcm0=", now)["webhook-signature"]
        'v1,Yp9VpxK6a1cH8FRAC/9JT28+ebEwI402RphXNGUbnBE='
    """
    stamp = str(int(now.timestamp()))
    found = {"content-type": MEDIA_TYPE, "webhook-id": message.id, "webhook-timestamp": stamp}
    if secret is not None:
        signed = b".".join((message.id.encode(), stamp.encode(), message.body))
        code = hmac.new(_key(secret), signed, hashlib.sha256).digest()
        found["webhook-signature"] = f"v1,{base64.b64encode(code).decode()}"
    return found


def _key(secret: str) -> bytes:
    try:
        if not secret.startswith(_PREFIX):
            raise ValueError
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ArgumentError("webhook secret: expected whsec_ and base64, found something else") from None
