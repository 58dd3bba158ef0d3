"""The device's token: what it shows the server to be let in. The server renews it."""

import sqlite3


def token(database: sqlite3.Connection) -> str:
    """The token; empty if there is none, which the server then refuses."""
    row = database.execute("SELECT token FROM access").fetchone()
    return "" if row is None else str(row[0])


def keep_token(database: sqlite3.Connection, token: str) -> None:
    """Have another token from now on."""
    database.execute("INSERT OR REPLACE INTO access (only, token) VALUES (0, ?)", (token,))
