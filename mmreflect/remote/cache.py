"""Answers on disk, by the content of their requests: SQLite, several processes at once, each answer flushed.

Beside them stands what each run has paid, written together with the answers that it has paid for.

A file that is damaged is set aside and told; what can still be read of it is carried over.
"""

import contextlib
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mmreflect import console
from mmreflect.errors import UserError

FILE = "answers.sqlite"
_WAIT_S = 60.0
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL, mark TEXT NOT NULL)"
_PAID_TABLE = """CREATE TABLE IF NOT EXISTS paid (run TEXT, server TEXT, requests INTEGER, tokens_in INTEGER,
    tokens_out INTEGER, PRIMARY KEY (run, server))"""
_PAY = """INSERT INTO paid VALUES (?, ?, ?, ?, ?) ON CONFLICT (run, server) DO UPDATE SET
    requests = requests + excluded.requests, tokens_in = tokens_in + excluded.tokens_in,
    tokens_out = tokens_out + excluded.tokens_out"""
_GET = "SELECT answer, mark FROM answers WHERE key = ?"
_PUT = "INSERT OR IGNORE INTO answers VALUES (?, ?, ?)"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

T = TypeVar("T")
Account = tuple[str, str]
"""A run, and the server that it pays."""


@dataclass(frozen=True, slots=True)
class Paid:
    """Requests that were answered, and their tokens."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def __sub__(self, other: "Paid") -> "Paid":
        """Return what is not in another."""
        return Paid(
            self.requests - other.requests, self.tokens_in - other.tokens_in, self.tokens_out - other.tokens_out
        )


class AnswerCache:
    """The cache in one folder. Not for several threads at once; any number of processes may share the folder.

    Attributes:
        unreadable: answers that were there and were not what had been written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / FILE
        self.unreadable = 0
        self._connection: sqlite3.Connection | None = None
        self._inode = -1

    def get(self, key: str) -> str | None:
        """Return the answer to a request, or None.

        Raises:
            UserError: the folder cannot be used.
        """
        row = self._do(lambda opened: opened.execute(_GET, [key]).fetchone())
        if row is None:
            return None
        answer, mark = row
        if mark != _mark(key, answer):
            self.unreadable += 1
            self._do(lambda opened: opened.execute("DELETE FROM answers WHERE key = ? AND mark = ?", [key, mark]))
            console.say(f"[yellow]{self.file}[/]: an answer is not what had been written; it is asked for again")
            return None
        return str(answer)

    def paid(self, account: Account) -> Paid:
        """Return what is in an account.

        Raises:
            UserError: the folder cannot be used.
        """
        words = "SELECT requests, tokens_in, tokens_out FROM paid WHERE run = ? AND server = ?"
        row = self._do(lambda opened: opened.execute(words, account).fetchone())
        return Paid(*row) if row else Paid()

    def put(
        self, rows: Sequence[tuple[str, str]], account: Account | None = None, paid: Paid | None = None
    ) -> list[str]:
        """Keep answers by their keys and return those that are kept: another process may have been first.

        They are on disk when this returns, all of them or none, and what was paid is with them.

        Args:
            account: to which `paid` is added.

        Raises:
            UserError: they cannot be written: the disk is full, or the folder is read-only.
        """
        bills = [] if account is None or paid in (None, Paid()) else [_bill(account, paid or Paid())]
        self._do(lambda opened: _insert(opened, [(key, answer, _mark(key, answer)) for key, answer in rows], bills))
        return [self.get(key) or answer for key, answer in rows]

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                self._set_aside(error)
                return work(self._opened())
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"the cache {self.file} cannot be used: {error}",
                "a folder on a local disk with room, that can be written",
                "make room, or choose another cache; answers that are in it stay there",
            ) from None

    def _opened(self) -> sqlite3.Connection:
        """Return the open file; one that another process has set aside is opened anew."""
        if self._connection is not None and _inode(self.file) == self._inode:
            return self._connection
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if self.file.is_file() and not self.file.stat().st_size:
                console.say(f"[yellow]the cache {self.file} is empty[/]: what it may have held is asked for again")
            self._connection = _connect(self.file)
            self._inode = _inode(self.file)
        return self._connection

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename a damaged file, and carry over to a new one what can be read of it."""
        opened = _inode(self.file) if self._connection is None else self._inode
        self.close()
        with self._locked():
            if _inode(self.file) != opened:
                return  # another process has done it
            aside = next(
                name for number in range(1, 10**6) if not (name := Path(f"{self.file}.damaged-{number}")).exists()
            )
            for suffix in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.file}{suffix}", f"{aside}{suffix}")
            fresh = _connect(self.file)
            rows = list(_readable(aside))
            _insert(fresh, rows, list(_bills(aside)))
            fresh.close()
        console.say(
            f"[yellow]the cache {self.file} is damaged[/] ({error}); it is kept as {aside.name}, and "
            f"{console.count(len(rows), 'answer')} that could be read of it went into a new one"
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other process open, make or set aside the file meanwhile."""
        with open(self.folder / "answers.lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_TABLE)
        connection.execute(_PAID_TABLE)
    except BaseException:
        connection.close()
        raise
    return connection


_Bill = tuple[str, str, int, int, int]


def _bill(account: Account, paid: Paid) -> _Bill:
    return (*account, paid.requests, paid.tokens_in, paid.tokens_out)


def _insert(opened: sqlite3.Connection, rows: Sequence[tuple[str, str, str]], bills: Sequence[_Bill]) -> None:
    """Write rows, and what they cost, in one transaction."""
    opened.execute("BEGIN IMMEDIATE")
    try:
        opened.executemany(_PUT, rows)
        opened.executemany(_PAY, bills)
        opened.execute("COMMIT")
    except BaseException:
        if opened.in_transaction:  # SQLite may have rolled back itself
            opened.execute("ROLLBACK")
        raise


def _readable(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of a damaged file, up to the first that cannot be reached."""
    try:
        with contextlib.closing(sqlite3.connect(file)) as opened:
            for key, answer, mark in opened.execute("SELECT key, answer, mark FROM answers"):
                if mark == _mark(str(key), str(answer)):
                    yield key, answer, mark
    except sqlite3.Error:
        return


def _bills(file: Path) -> Iterator[_Bill]:
    """Yield what can be read of a damaged file's accounts."""
    try:
        with contextlib.closing(sqlite3.connect(file)) as opened:
            for run, server, *numbers in opened.execute("SELECT * FROM paid"):
                if all(isinstance(number, int) for number in numbers):
                    yield str(run), str(server), numbers[0], numbers[1], numbers[2]
    except sqlite3.Error:
        return


def _damaged(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF in _DAMAGE) or "no such column" in str(error)


def _mark(key: str, answer: str) -> str:
    return hashlib.sha256(f"{key}\n{answer}".encode()).hexdigest()[:16]


def _inode(file: Path) -> int:
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return -1
