"""Writes to a profile, has SQLite sort and vacuum, and is killed with a WAL left behind: `PROFILE`."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from client.at_rest import database_of


def main(profile: Path) -> None:
    database = database_of(profile)
    database.execute("PRAGMA cache_size = 10")
    rows = [(number, f"said in confidence {number}" * 20) for number in range(5000)]
    database.execute("BEGIN")
    database.executemany("INSERT INTO people VALUES (?, ?)", rows)
    database.execute("COMMIT")
    database.execute("SELECT handle FROM people ORDER BY substr(handle, 5)").fetchall()
    database.execute("VACUUM")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("UPDATE people SET handle = handle || handle")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
