import base64
import hashlib
import hmac
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.alerts.worlds import ISSUE

from stormcell.alerts.alert_store import Message, opened
from stormcell.alerts.delivery import deliver
from stormcell.alerts.rules import Webhook
from stormcell.alerts.sender import Sender, Senders

SECRET = b"a secret of thirty-two bytes ..."


class Receiver(ThreadingHTTPServer):
    """A webhook on this machine.

    Attributes:
        statuses: Of the next answers; 204 after them.
        received: Headers and body of each request.
        gate: An answer waits for it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.statuses: list[int] = []
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.gate, self.asked = threading.Event(), threading.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/rain?key=1"

    @property
    def webhook(self) -> Webhook:
        return Webhook(url=self.url, allow_private=True)


class _Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.set()
        self.server.gate.wait(10)
        self.server.received.append((dict(self.headers), body))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.send_response(status)
        self.send_header("location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


class Post:
    """An outbox with messages, and a clock."""

    def __init__(self, store, webhook, ids, send=deliver):
        self.now, self.lines, self.store = ISSUE, [], store
        store.save({}, None, [Message(name, b"{}", ISSUE) for name in ids], [webhook.url])
        self.sender = Sender(store, webhook, clock=lambda: self.now, log=self.lines.append, deliver=send)


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path / "alerts.sqlite") as store:
        yield store


def test_sender_delivers_messages_in_order_and_once(store, receiver):
    post = Post(store, receiver.webhook, ["1", "2"])
    assert (post.sender.turn(), post.sender.turn()) == (2, 0)
    assert [headers["webhook-id"] for headers, _ in receiver.received] == ["1", "2"]
    assert store.waiting() == 0


def test_sender_signs_as_standard_webhooks_does(store, receiver, monkeypatch):
    monkeypatch.setenv("SECRET_OF_TEST", f"whsec_{base64.b64encode(SECRET).decode()}")
    webhook = Webhook(url=receiver.url, allow_private=True, secret_env="SECRET_OF_TEST")
    Post(store, webhook, ["7"]).sender.turn()
    ((headers, body),) = receiver.received
    signed = f"7.{int(ISSUE.timestamp())}.".encode() + body
    code = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{code}"
    assert headers["content-type"] == "application/cloudevents+json"


@pytest.mark.parametrize("status", [301, 404, 500, 503])
def test_sender_tries_again_after_an_error_and_waits_longer_each_time(store, receiver, status):
    receiver.statuses = [status] * 4
    post = Post(store, receiver.webhook, ["1", "2"])
    for pause in (1, 2, 4, 8):
        asked = len(receiver.received) + 1
        post.sender.turn()
        post.now += timedelta(seconds=pause - 0.1)
        post.sender.turn()
        assert len(receiver.received) == asked
        post.now += timedelta(seconds=0.1)
        assert post.sender.problem == f"127.0.0.1: 1 was not delivered: status {status}; it is tried again"
    post.sender.turn()
    assert [headers["webhook-id"] for headers, _ in receiver.received] == ["1"] * 5 + ["2"]
    assert post.sender.problem == ""


def test_sender_waits_no_longer_than_an_hour(store):
    webhook = Webhook(url="https://example.org/")
    post = Post(store, webhook, ["1"], lambda *_: "status 500")
    for _ in range(20):
        assert store.next_message(webhook.url, post.now) is not None
        post.sender.turn()
        post.now += timedelta(hours=1)


def test_sender_gives_up_after_a_day(store):
    webhook = Webhook(url="https://example.org/")
    post = Post(store, webhook, ["1"], lambda *_: "status 500")
    post.now += timedelta(hours=24, seconds=1)
    post.sender.turn()
    assert store.waiting() == 0
    assert post.lines == ["example.org: 1 is given up after a day"]
    assert post.sender.problem == ""


def test_sender_killed_between_delivery_and_removal_sends_the_same_id_again(store, receiver):
    def killed(webhook, message, now):
        deliver(webhook, message, now)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Post(store, receiver.webhook, ["1"], killed).sender.turn()
    Post(store, receiver.webhook, ["1"]).sender.turn()
    assert [headers["webhook-id"] for headers, _ in receiver.received] == ["1", "1"]


def test_outbox_with_the_same_id_twice_has_it_once(store):
    message = Message("1", b"{}", ISSUE)
    store.save({}, None, [message], ["a", "b"])
    store.save({}, None, [message], ["a", "b"])
    assert store.waiting() == 2  # one for each receiver


def test_sender_without_a_receiver_gives_the_reason(store):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        webhook = Webhook(url=f"http://127.0.0.1:{free.getsockname()[1]}/", allow_private=True)
        post = Post(store, webhook, ["1"])
        post.sender.turn()
    assert "refused" in post.sender.problem
    assert store.waiting() == 1


def test_senders_slow_receiver_does_not_hold_up_the_store_or_the_end(tmp_path, receiver):
    receiver.gate.clear()
    senders = Senders(tmp_path / "alerts.sqlite", (receiver.webhook,), log=print)
    with opened(tmp_path / "alerts.sqlite") as store:
        store.save({}, None, [Message("1", b"{}", datetime.now(UTC))], [receiver.url])
        senders.start()
        assert receiver.asked.wait(30)
        store.save({}, "judged meanwhile", [], [])
        assert store.judged() == "judged meanwhile"
        senders.stop(patience=0.0)
        assert store.waiting() == 1  # sent again after the next start


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        ["9.9.9.9", "192.168.0.1"],
        ["::1"],
        ["fe80::1%eth0"],
        ["fd00::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::a00:1"],
        ["2002:a00:1::1"],
        ["0.0.0.0"],
        ["224.0.0.1"],
        ["100.64.0.1"],
    ],
)
def test_delivery_to_a_name_with_a_private_address_is_refused(addresses):
    webhook = Webhook(url="https://example.org/")
    reason = deliver(webhook, Message("1", b"{}", ISSUE), ISSUE, resolve=lambda *_: addresses)
    assert reason is not None
    assert "expected public addresses" in reason


def test_delivery_with_a_malformed_secret_gives_the_reason(monkeypatch):
    monkeypatch.setenv("SECRET_OF_TEST", "rain")
    webhook = Webhook(url="https://example.org/", secret_env="SECRET_OF_TEST")
    assert "whsec_" in str(deliver(webhook, Message("1", b"{}", ISSUE), ISSUE))
