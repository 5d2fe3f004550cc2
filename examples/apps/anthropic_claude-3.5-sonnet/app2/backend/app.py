"""Notes: a small JSON interface over SQLite."""

import os
import sqlite3
from http import HTTPStatus

from flask import Flask, abort, g, jsonify, request

from .notes import Note, NoteError, create_schema

MAX_BODY_BYTES = 64 * 1024


def create_app(database: str) -> Flask:
    """Build the application for one database file."""
    app = Flask(__name__, static_folder="../frontend", static_url_path="")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    def connection() -> sqlite3.Connection:
        if "connection" not in g:
            g.connection = sqlite3.connect(database)
            g.connection.row_factory = sqlite3.Row
            create_schema(g.connection)
        return g.connection

    @app.teardown_appcontext
    def close(_error: BaseException | None) -> None:
        opened = g.pop("connection", None)
        if opened is not None:
            opened.close()

    @app.get("/api/notes")
    def list_notes():
        return jsonify([note.as_dict() for note in Note.all(connection())])

    @app.post("/api/notes")
    def add_note():
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            abort(HTTPStatus.BAD_REQUEST, "a JSON object is needed")
        try:
            note = Note.add(connection(), body.get("title"), body.get("text"))
        except NoteError as error:
            abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        return jsonify(note.as_dict()), HTTPStatus.CREATED

    @app.delete("/api/notes/<int:number>")
    def delete_note(number: int):
        if not Note.delete(connection(), number):
            abort(HTTPStatus.NOT_FOUND)
        return "", HTTPStatus.NO_CONTENT

    return app


application = create_app(os.environ.get("NOTES_DATABASE", "notes.db"))
