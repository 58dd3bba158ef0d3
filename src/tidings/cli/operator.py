"""The way from the command line to a running server's admin port.

The server writes `admin.json` into its data folder: who may read that file may administer it.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from tidings.cli.failure import Failure

FILE = "admin.json"
TIMEOUT_S = 30.0

DataOption = Annotated[
    Path, typer.Option("--data", envvar="TIDINGS_DATA", help="The running server's data folder.")
]


class Operator:
    """Asks a running server. Raises Failure for whatever goes wrong."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE
        try:
            found = json.loads(self._path.read_text())
            self._url, self._token = str(found["url"]), str(found["token"])
        except FileNotFoundError:
            raise Failure(
                f"no server runs on {data}: there is no {FILE}",
                hint="start it with `tidings serve`, or name its folder with --data (and set `admin`)",
            ) from None
        except PermissionError:
            raise Failure(
                f"cannot read {self._path}: permission denied", hint="run this as the server's user"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Failure(f"cannot read {self._path}: {error}", hint="restart the server") from None

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout_s: float | None = TIMEOUT_S,
        **query: object,
    ) -> Any:
        """The JSON that `METHOD /v1/admin/PATH` answers."""
        return self._request(method, f"/v1/admin/{path}", body, timeout_s, query).json()

    def metrics(self) -> str:
        """The text that `GET /metrics` answers."""
        return self._request("GET", "/metrics", None, TIMEOUT_S, {}).text

    def _request(
        self, method: str, path: str, body: object, timeout_s: float | None, query: dict[str, object]
    ) -> httpx.Response:
        params = {key: str(value) for key, value in query.items() if value is not None}
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            # No proxy from the environment: this never leaves the machine.
            with httpx.Client(trust_env=False, timeout=timeout_s) as client:
                answer = client.request(method, self._url + path, params=params, json=body, headers=headers)
        except httpx.TimeoutException:
            raise Failure(f"the server at {self._url} does not answer", hint="look into its log") from None
        except httpx.HTTPError as error:
            raise Failure(
                f"no server answers at {self._url}: {error}",
                hint=f"it may have been killed and left {self._path} behind; start it again",
            ) from None
        if answer.is_success:
            return answer
        raise _refusal(answer)


def _refusal(answer: httpx.Response) -> Failure:
    try:
        problem = answer.json()
        message, name = str(problem["message"]), str(problem["name"])
    except (ValueError, KeyError, TypeError):
        return Failure(f"the server answered {answer.status_code}", hint="look into its log")
    return Failure(message, hint=_HINTS.get(name, ""))


_HINTS = {
    "no_such_user": "see `tidings admin users`; a user_id is written id:NUMBER",
    "unauthenticated": "the file is of another run of the server; is --data the right folder?",
    "bad_invite": "see `tidings admin invites` for the ids of those that can still be used",
    "store_full": "make room on the disk",
}
