"""Who is asking: the device whose token a request carries, and how often it may.

spec §7
"""

from typing import NamedTuple

from tidings.domain.clock import Clock
from tidings.domain.devices import Devices
from tidings.protocol.errors import UNAUTHENTICATED, ProtocolError
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.server.http.problems import AnyRequest
from tidings.server.rate import AddressRates, KeyedRates

BEARER = "token"
"""What OpenAPI calls it."""
SECURITY = [{BEARER: list[str]()}]
"""What a route says that asks for a token."""

_PREFIX = "bearer "


class Caller(NamedTuple):
    """A device that may ask."""

    user_id: UserId
    device_id: DeviceId


class Asking:
    """Recognises callers by their tokens and counts what they ask."""

    def __init__(self, devices: Devices, clock: Clock, limits: Limits) -> None:
        self._devices = devices
        self._clock = clock
        self._changes: KeyedRates[UserId] = KeyedRates(lambda: limits.account_rate, limits.addresses_tracked)
        self._reads: KeyedRates[UserId] = KeyedRates(lambda: limits.query_rate, limits.addresses_tracked)
        self._guesses = AddressRates(lambda: limits.login_rate, limits.addresses_tracked)

    async def caller(self, request: AnyRequest) -> Caller:
        """Who asks for a change. Raises ProtocolError (unauthenticated, suspended, rate_limited)."""
        caller = await self._recognised(request)
        self._changes.check(caller.user_id, self._clock.monotonic_s())
        return caller

    async def reader(self, request: AnyRequest) -> Caller:
        """Who wants to read. Raises ProtocolError (unauthenticated, suspended, rate_limited)."""
        caller = await self._recognised(request)
        self._reads.check(caller.user_id, self._clock.monotonic_s())
        return caller

    async def _recognised(self, request: AnyRequest) -> Caller:
        header = request.headers.get("authorization", "")
        try:
            if not header.lower().startswith(_PREFIX):
                raise ProtocolError(UNAUTHENTICATED, "send Authorization: Bearer TOKEN")
            recognised = await self._devices.recognise(header[len(_PREFIX) :].strip())
        except ProtocolError as error:
            if error.kind is UNAUTHENTICATED:
                # Only wrong ones are counted: behind a proxy many right ones share an address.
                self._guesses.check(address_of(request), self._clock.monotonic_s())
            raise
        return Caller(recognised.user.user_id, recognised.device_id)


def address_of(request: AnyRequest) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""
