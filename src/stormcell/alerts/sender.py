"""Send the messages of the outbox, in a thread for each webhook: a slow receiver delays nothing else."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from stormcell.alerts.alert_store import Message, Store, opened
from stormcell.alerts.delivery import deliver
from stormcell.alerts.rules import Webhook
from stormcell.errors import StormcellError

_LONGEST_PAUSE = timedelta(hours=1)
_LONGEST_LIFE = timedelta(days=1)  # after which a message is of no use
_LOOK = 1.0  # seconds between two looks at the outbox

Deliver = Callable[[Webhook, Message, datetime], str | None]


class Sender:
    """Sends the messages to one webhook, in their order.

    Args:
        store: The outbox.
        webhook: The webhook.
        clock: Returns the time.
        log: Called with a line for each thing that a person should know.
        deliver: Sends a message.

    Attributes:
        problem: The reason why the last attempt failed; empty if it did not. It names the host of the
            webhook only, since the rest of an address may be a secret.
    """

    def __init__(
        self,
        store: Store,
        webhook: Webhook,
        *,
        clock: Callable[[], datetime],
        log: Callable[[str], None],
        deliver: Deliver = deliver,
    ) -> None:
        self._store, self._webhook, self._clock, self._log = store, webhook, clock, log
        self._deliver = deliver
        self._host = urlsplit(webhook.url).hostname or ""
        self.problem = ""

    def turn(self) -> int:
        """Send what is due, and return the number of delivered messages.

        Raises:
            OutputError: The outbox cannot be used.
        """
        url, delivered = self._webhook.url, 0
        while (message := self._store.next_message(url, self._clock())) is not None:
            now = self._clock()
            if now - message.created > _LONGEST_LIFE:
                self._store.remove(url, message)
                self._log(f"{self._host}: {message.id} is given up after a day")
                self.problem = ""
                continue
            reason = self._deliver(self._webhook, message, now)
            if reason is None:
                self._store.remove(url, message)
                self.problem = ""
                delivered += 1
                continue
            pause = min(timedelta(seconds=2 ** min(message.attempts, 12)), _LONGEST_PAUSE)
            self._store.postpone(url, message, self._clock() + pause)
            self.problem = f"{self._host}: {message.id} was not delivered: {reason}; it is tried again"
        return delivered


class Senders:
    """Threads that send to webhooks until they are stopped.

    Args:
        path: The SQLite file with the outbox.
        webhooks: The webhooks.
        log: Called with a line for each thing that a person should know.
    """

    def __init__(self, path: Path, webhooks: tuple[Webhook, ...], *, log: Callable[[str], None]) -> None:
        self._path, self._log = path, log
        self._problems = dict.fromkeys((webhook.url for webhook in webhooks), "")
        self._ended = threading.Event()
        # They end with the process: a receiver that never answers does not hold it up.
        self._threads = [
            threading.Thread(target=self._run, args=(webhook,), daemon=True) for webhook in webhooks
        ]

    @property
    def problem(self) -> str:
        """The reason why messages are not delivered now; empty if all are."""
        return "; ".join(problem for problem in self._problems.values() if problem)

    def start(self) -> None:
        """Start sending."""
        for thread in self._threads:
            thread.start()

    def stop(self, patience: float = 1.0) -> None:
        """End the threads; what is not sent by then is sent after the next start.

        Args:
            patience: Seconds to wait for each.
        """
        self._ended.set()
        for thread in self._threads:
            thread.join(patience)

    def _run(self, webhook: Webhook) -> None:
        while not self._ended.is_set():
            try:
                with opened(self._path) as store:
                    sender = Sender(store, webhook, clock=lambda: datetime.now(UTC), log=self._log)
                    ended = False
                    while not ended:
                        ended = self._ended.wait(_LOOK)  # and once more at the end, for what came last
                        sender.turn()
                        self._problems[webhook.url] = sender.problem
            except StormcellError as error:
                self._problems[webhook.url] = str(error)
                self._ended.wait(_LOOK)
