"""The note, and how it is stored."""

import sqlite3
from dataclasses import asdict, dataclass

TITLE_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 20_000


class NoteError(ValueError):
    """A note that cannot be stored."""


def create_schema(connection: sqlite3.Connection) -> None:
    """Create the table when it is not there yet."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS notes (number INTEGER PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL)"
    )


@dataclass(frozen=True)
class Note:
    """One note."""

    number: int
    title: str
    text: str

    def as_dict(self) -> dict:
        """The note as it is sent to a browser."""
        return asdict(self)

    @classmethod
    def all(cls, connection: sqlite3.Connection) -> list["Note"]:
        """Every note, newest first."""
        rows = connection.execute("SELECT number, title, text FROM notes ORDER BY number DESC LIMIT 500")
        return [cls(row["number"], row["title"], row["text"]) for row in rows]

    @classmethod
    def add(cls, connection: sqlite3.Connection, title: object, text: object) -> "Note":
        """Check a note and store it."""
        if not isinstance(title, str) or not 0 < len(title) <= TITLE_LENGTH_MAX:
            raise NoteError(f"title must be a text of 1 to {TITLE_LENGTH_MAX} characters")
        if not isinstance(text, str) or len(text) > TEXT_LENGTH_MAX:
            raise NoteError(f"text must be a text of at most {TEXT_LENGTH_MAX} characters")
        with connection:
            cursor = connection.execute("INSERT INTO notes (title, text) VALUES (?, ?)", (title, text))
        return cls(cursor.lastrowid or 0, title, text)

    @staticmethod
    def delete(connection: sqlite3.Connection, number: int) -> bool:
        """Delete a note; false when there is none of that number."""
        with connection:
            cursor = connection.execute("DELETE FROM notes WHERE number = ?", (number,))
        return cursor.rowcount > 0
