"""The account's devices: which there are, and who comes in and goes.

spec §6.16, §7
"""

from collections.abc import Awaitable, Callable

from tidings.client import http
from tidings.client.conversations import Ask
from tidings.client.errors import ClientError
from tidings.client.http import Server
from tidings.client.sealing.linking import Linking
from tidings.protocol.api import DeviceInfo, DeviceName, Done
from tidings.protocol.ids import DeviceId


class OwnDevices:
    """`me.devices`. Every method asks the server and raises Refused, Unreachable."""

    def __init__(
        self,
        server: Server,
        token: Callable[[], str],
        linking: Linking | None,
        ask: Ask,
        published: Callable[[], Awaitable[None]],
        login_secret: Callable[[str], Awaitable[str]],
    ) -> None:
        """`token` is asked for at each request: it may be renewed.

        `linking`: None where nothing is sealed. `published` returns once the server has this device's keys.
        """
        self._server = server
        self._token = token
        self._linking = linking
        self._ask = ask
        self._published = published
        self._login_secret = login_secret

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
        """End a device: its token is dead, its connections are closed, and it reads nothing from then on.

        One's own may be named, too. If the device may be in wrong hands, see `revoke_stolen`.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            for device in await me.devices.list():
                if device.name == "the stolen phone":
                    await me.devices.sign_out(device.device_id)
        ```
        """
        if self._linking is not None and await self._linking.is_removable(_id(device_id)):
            await self._linking.remove(_id(device_id), self._ask)
            return
        path = f"/v1/devices/{_digits(device_id)}"
        await http.ask(self._server, "DELETE", path, Done, token=self._token())

    async def revoke_stolen(self, device_id: str, password: str, *, code: str = "") -> None:
        """End a device that may be in wrong hands, and with it the identity whose key is on it.

        The user gets another identity, signed by the one before; people see that it has changed, and
        safety numbers are to be compared again. `code` is of the second factor.

        ```python
        async with Client.open("profiles/alice") as me:
            for device in await me.devices.list():
                if device.name == "the stolen phone":
                    await me.devices.revoke_stolen(device.device_id, "a long secret")
        ```
        """
        secret = await self._login_secret(password)
        await self._sealing.renew_identity(_id(device_id), secret, code, self._ask)

    async def link_code(self) -> str:
        """A code for this device, which is new: `approve` it on one that is in. Another call makes another.

        ```python
        async with Client.open("profiles/tablet") as me:
            print("On your other device: tidings link", await me.devices.link_code())
        ```
        """
        linking = self._sealing
        await self._published()  # else that could take the code's mark away from the server again
        return await linking.offer()

    async def approve(self, code: str) -> DeviceId:
        """Let the device in that shows a code; from now on it can read. Raises ClientError if none does.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.devices.approve("7K3QX-M0TB4")
        ```
        """
        return await self._sealing.approve(code, self._ask)

    async def is_linked(self) -> bool:
        """Whether this device is in, and can read and write what is encrypted.

        ```python
        async with Client.open("profiles/tablet") as me:
            if not await me.devices.is_linked():
                print("not yet")
        ```
        """
        return await self._sealing.is_linked()

    async def linked(self) -> None:
        """Wait until this device is in.

        ```python
        async with Client.open("profiles/tablet") as me:
            print("On your other device: tidings link", await me.devices.link_code())
            await me.devices.linked()
        ```
        """
        await self._sealing.linked(self._ask)

    async def start_over(self, password: str, *, code: str = "") -> None:
        """Begin with another identity on this device, because every device that was linked is lost.

        Those are logged out. Nothing that was written before can be read here; people see that the
        identity was replaced, and safety numbers are to be compared again. `code` is of the second
        factor. Raises ClientError on a device that is linked.

        ```python
        await Client.login(
            "http://127.0.0.1:8080", handle="alice", password="a long secret", profile="profiles/tablet"
        )
        async with Client.open("profiles/tablet") as me:
            await me.devices.start_over("a long secret")
        ```
        """
        linking = self._sealing
        await self._published()
        await linking.start_over(await self._login_secret(password), code, self._ask)

    @property
    def _sealing(self) -> Linking:
        if self._linking is None:
            raise ClientError("this profile does not encrypt", "register or log in without --plain")
        return self._linking


def _id(device_id: str) -> DeviceId:
    return DeviceId(int(_digits(device_id)))


def _digits(device_id: str) -> str:
    # Of anything else an URL could be made that means something else.
    return device_id if device_id.isascii() and device_id.isdecimal() else "0"
