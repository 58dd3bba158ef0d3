"""The devices of one's own account.

spec §7
"""

from litestar import delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK
from litestar.types import ControllerRouterHandler

from tidings.domain.devices import Devices
from tidings.protocol.api import DeviceInfo, DeviceName, Done
from tidings.protocol.errors import NO_SUCH_DEVICE, ErrorKind, ProtocolError
from tidings.protocol.ids import SNOWFLAKE_MAX, DeviceId
from tidings.server.http.asking import SECURITY, Caller


def routes(devices: Devices) -> list[ControllerRouterHandler]:
    """`/v1/devices`."""

    @get("/v1/devices", tags=["devices"], security=SECURITY)
    async def listed(reader: NamedDependency[Caller]) -> list[DeviceInfo]:
        """One's own devices, the oldest first; `current` is the one that asks."""
        return await devices.listed(reader.user_id, reader.device_id)

    @put("/v1/devices/{device_id:str}", tags=["devices"], security=SECURITY)
    async def rename(
        device_id: FromPath[str], data: JSONBody[DeviceName], caller: NamedDependency[Caller]
    ) -> DeviceInfo:
        """Call a device something else."""
        named = DeviceId(parse_id(device_id, NO_SUCH_DEVICE))
        return await devices.rename(caller.user_id, named, data.name, caller.device_id)

    @delete("/v1/devices/{device_id:str}", tags=["devices"], security=SECURITY, status_code=HTTP_200_OK)
    async def revoke(device_id: FromPath[str], caller: NamedDependency[Caller]) -> Done:
        """Log a device out: its token is dead and its connections end. One's own: log out."""
        await devices.revoke(caller.user_id, DeviceId(parse_id(device_id, NO_SUCH_DEVICE)))
        return Done()

    return [listed, rename, revoke]


def parse_id(text: str, unknown: ErrorKind, message: str = "") -> int:
    """A snowflake in a path; what is none is one that nobody has. Raises ProtocolError."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= SNOWFLAKE_MAX):
        raise ProtocolError(unknown, message)
    return int(text)
