"""The account's devices, over HTTP.

spec §7
"""

from collections.abc import Callable

from tidings.client import http
from tidings.client.http import Server
from tidings.protocol.api import DeviceInfo, DeviceName, Done


class OwnDevices:
    """`me.devices`. Every method asks the server and raises Refused, Unreachable."""

    def __init__(self, server: Server, token: Callable[[], str]) -> None:
        """`token` is asked for at each request: it may be renewed."""
        self._server = server
        self._token = token

    async def list(self) -> list[DeviceInfo]:
        """The account's devices, this one among them.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            for device in await me.devices.list():
                print(device.device_id, device.name, "(this one)" if device.current else "")
        ```
        """
        return await http.ask(self._server, "GET", "/v1/devices", list[DeviceInfo], token=self._token())

    async def rename(self, device_id: str, name: str) -> DeviceInfo:
        """Give a device another name.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            (device, *_) = await me.devices.list()
            await me.devices.rename(device.device_id, "Alice's tablet")
        ```
        """
        path = f"/v1/devices/{_digits(device_id)}"
        return await http.ask(self._server, "PUT", path, DeviceInfo, DeviceName(name), token=self._token())

    async def sign_out(self, device_id: str) -> None:
        """End a device: its token is dead and its connections are closed. One's own may be named, too.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            for device in await me.devices.list():
                if device.name == "the stolen phone":
                    await me.devices.sign_out(device.device_id)
        ```
        """
        path = f"/v1/devices/{_digits(device_id)}"
        await http.ask(self._server, "DELETE", path, Done, token=self._token())


def _digits(device_id: str) -> str:
    # Of anything else an URL could be made that means something else.
    return device_id if device_id.isascii() and device_id.isdecimal() else "0"
