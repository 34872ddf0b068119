"""The states of the rules and the messages that are still to be sent, in one SQLite file.

A state and the messages that follow from it are written by one transaction: a process that is killed at any
point forgets no message, and writes none twice.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stormcell.alerts.condition import Condition
from stormcell.errors import OutputError

_SECONDS = 10.0  # to wait for another thread's transaction
_TABLES = """
CREATE TABLE IF NOT EXISTS conditions (rule TEXT PRIMARY KEY, definition TEXT, condition TEXT);
CREATE TABLE IF NOT EXISTS judged (one INTEGER PRIMARY KEY CHECK (one = 1), publication TEXT);
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY, id TEXT, receiver TEXT, body BLOB, created REAL, due REAL, attempts INTEGER,
    UNIQUE (id, receiver)
);
"""


@dataclass(frozen=True)
class Message:
    """A message to a receiver.

    Attributes:
        id: The same for each attempt and each receiver.
        body: JSON.
        created: When it was written.
        attempts: How often it could not be delivered.
    """

    id: str
    body: bytes
    created: datetime
    attempts: int = 0


class Store:
    """The SQLite file. Each thread opens its own.

    Args:
        path: The file, which is created if it does not exist.

    Raises:
        OutputError: It cannot be written, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            self._database = sqlite3.connect(path, timeout=_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def conditions(self) -> dict[str, tuple[str, Condition]]:
        """Return definition and state of each rule by name."""
        with self._errors():
            rows = self._database.execute("SELECT rule, definition, condition FROM conditions").fetchall()
        return {rule: (definition, Condition.model_validate_json(text)) for rule, definition, text in rows}

    def judged(self) -> str | None:
        """Return the folder of the publication that was judged last."""
        with self._errors():
            row = self._database.execute("SELECT publication FROM judged").fetchone()
        return None if row is None else str(row[0])

    def save(
        self,
        conditions: Mapping[str, tuple[str, Condition]],
        judged: str | None,
        messages: Iterable[Message],
        receivers: Iterable[str],
    ) -> None:
        """Replace all states, and put messages for all receivers into the outbox, at once."""
        rows = [(name, text, one.model_dump_json()) for name, (text, one) in conditions.items()]
        receivers = tuple(receivers)
        letters = [
            (one.id, receiver, one.body, one.created.timestamp(), one.created.timestamp(), one.attempts)
            for one in messages
            for receiver in receivers
        ]
        with self._transaction() as database:
            database.execute("DELETE FROM conditions")
            database.executemany("INSERT INTO conditions VALUES (?, ?, ?)", rows)
            database.execute("INSERT OR REPLACE INTO judged VALUES (1, ?)", (judged,))
            database.executemany(
                "INSERT OR IGNORE INTO outbox (id, receiver, body, created, due, attempts) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                letters,
            )

    def next_message(self, receiver: str, now: datetime) -> Message | None:
        """Return the oldest message to a receiver, None if it is not due: messages keep their order."""
        with self._errors():
            row = self._database.execute(
                "SELECT id, body, created, attempts, due FROM outbox WHERE receiver = ? "
                "ORDER BY number LIMIT 1",
                (receiver,),
            ).fetchone()
        if row is None or row[4] > now.timestamp():
            return None
        return Message(row[0], row[1], datetime.fromtimestamp(row[2], UTC), row[3])

    def postpone(self, receiver: str, message: Message, until: datetime) -> None:
        """Remember that a message could not be delivered, and when it is tried again."""
        with self._transaction() as database:
            database.execute(
                "UPDATE outbox SET due = ?, attempts = attempts + 1 WHERE receiver = ? AND id = ?",
                (until.timestamp(), receiver, message.id),
            )

    def remove(self, receiver: str, message: Message) -> None:
        """Remove a message that was delivered or is given up."""
        with self._transaction() as database:
            database.execute("DELETE FROM outbox WHERE receiver = ? AND id = ?", (receiver, message.id))

    def waiting(self) -> int:
        """Return the number of messages that are still to be sent."""
        with self._errors():
            return int(self._database.execute("SELECT count(*) FROM outbox").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            with self._database:
                yield self._database

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(f"{self._path}: could not be used: {error}") from error


def opened(path: Path) -> closing[Store]:
    """Return the store as a context that closes it."""
    return closing(Store(path))
