"""The public keys of one's own devices, and the list of them that their user has signed.

spec §6.16, §7
"""

from litestar import get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK
from litestar.types import ControllerRouterHandler

from tidings.protocol.api import (
    DeviceKeys,
    Done,
    KeysLeft,
    KeysState,
    LinkReply,
    NewDevices,
    OneTimeKeys,
)
from tidings.protocol.errors import NO_SUCH_DEVICE
from tidings.protocol.ids import DeviceId
from tidings.protocol.limits import Limits
from tidings.server.account_rules import AccountRules
from tidings.server.http.asking import SECURITY, Caller
from tidings.server.http.devices import parse_id


def routes(rules: AccountRules, limits: Limits) -> list[ControllerRouterHandler]:
    """`/v1/keys`, and `/v1/devices/{device_id}/keys` and `/link`."""
    keys = rules.keys

    @get("/v1/keys", tags=["keys"], security=SECURITY)
    async def state(reader: NamedDependency[Caller]) -> KeysState:
        """What the server has of the asking device's keys, and the answer where it asked to be linked."""
        return await keys.state(reader.user_id, reader.device_id)

    @put("/v1/keys", tags=["keys"], security=SECURITY)
    async def publish(data: JSONBody[DeviceKeys], caller: NamedDependency[Caller]) -> KeysState:
        """Publish the asking device's keys, or renew its prekeys."""
        return await keys.publish(caller.user_id, caller.device_id, data)

    @post(
        "/v1/keys/one-time",
        tags=["keys"],
        security=SECURITY,
        status_code=HTTP_200_OK,
        request_max_body_size=limits.one_time_body_bytes,
    )
    async def bring(data: JSONBody[OneTimeKeys], caller: NamedDependency[Caller]) -> KeysLeft:
        """Bring one-time prekeys. Each is given to one who asks, and to nobody else."""
        return KeysLeft(await keys.bring(caller.user_id, caller.device_id, data))

    @put("/v1/keys/devices", tags=["keys"], security=SECURITY)
    async def sign(data: JSONBody[NewDevices], caller: NamedDependency[Caller]) -> Done:
        """The next signed list of the account's devices. Those that it leaves out are logged out."""
        await rules.list_changes.put(caller.user_id, caller.device_id, data)
        return Done()

    @get("/v1/devices/{device_id:str}/keys", tags=["keys"], security=SECURITY)
    async def of_device(device_id: FromPath[str], reader: NamedDependency[Caller]) -> DeviceKeys:
        """What one of one's own devices has published."""
        named = DeviceId(parse_id(device_id, NO_SUCH_DEVICE))
        return await keys.of_device(reader.user_id, named)

    @put("/v1/devices/{device_id:str}/link", tags=["keys"], security=SECURITY)
    async def link(
        device_id: FromPath[str], data: JSONBody[LinkReply], caller: NamedDependency[Caller]
    ) -> Done:
        """Answer a device of one's own that asks to be linked."""
        named = DeviceId(parse_id(device_id, NO_SUCH_DEVICE))
        await keys.answer_link(caller.user_id, named, data.reply)
        return Done()

    return [state, publish, bring, sign, of_device, link]
