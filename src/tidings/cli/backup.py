"""`tidings backup`: a copy of a store, made by the server that runs on it or, if none does, here."""

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated

import typer

from tidings.cli.failure import Failure
from tidings.cli.keeping import run
from tidings.cli.running import JsonOption, tell
from tidings.store.contract import StoreInUse
from tidings.store.rocks import RocksStore

ADMIN_FILE = "admin.json"
PATIENCE_S = 24 * 3600.0
"""for the server's answer: it copies all files before it answers"""


def backup(
    data: Annotated[Path, typer.Option(help="Data folder of the server.", show_default=False)],
    to: Annotated[Path, typer.Option(help="An empty or new folder.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Copy a store. Everything that was acknowledged before is in the copy."""
    target = to.absolute()
    if not _ask_server(data, target):
        run(_copy(data, target))
    tell(str(target), {"type": "backup", "path": str(target)}, as_json=as_json)


def _ask_server(data: Path, target: Path) -> bool:
    """Let the server that runs on the folder do it; False if there is none. Raises Failure."""
    try:
        admin = json.loads((data / ADMIN_FILE).read_text())
        url, token = admin["url"], admin["token"]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        hint = "run it as the user whose server it is"
        raise Failure(f"cannot read {data / ADMIN_FILE}: {error.strerror}", hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(
            f"{data / ADMIN_FILE} is not what a server writes", hint="start the server anew"
        ) from error
    body = json.dumps({"path": str(target)}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/admin/backup", body, headers)  # noqa: S310 - of our own file
    # A proxy of the environment has no business with the loopback interface.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE_S) as answer:
            answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            raise Failure(*_refusal(refused.read())) from refused
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return False  # it was killed, and the file is left of it
        raise Failure(f"cannot reach the server: {error.reason}", hint="try again") from error
    except (OSError, http.client.HTTPException) as error:
        hint = "look into its log; the folder holds no whole copy"
        raise Failure(f"the server went away: {error}", hint=hint) from error
    return True


async def _copy(data: Path, target: Path) -> None:
    try:
        store = RocksStore.open(data, as_it_is=True, min_free_bytes=0)
    except StoreInUse as error:
        raise Failure(
            f"a server holds {data}, and it has no admin port to ask",
            hint="stop it first, or let it have one: `admin` in its config",
        ) from error
    try:
        await store.checkpoint(target)
    finally:
        await store.close()


def _refusal(body: bytes) -> tuple[str]:
    try:
        return (str(json.loads(body)["message"]),)
    except (ValueError, KeyError, TypeError):
        return ("the server refused",)
