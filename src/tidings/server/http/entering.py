"""Coming in: registering and logging in, for whom nothing is known of yet but their address.

Counted by address, and logging in also by handle: else many addresses could guess at one account. A
handle takes what several addresses may ask, so that a single one cannot keep its owner out.

spec §7
"""

from functools import lru_cache

from litestar import post
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK
from litestar.types import ControllerRouterHandler

from tidings.domain.accounts import Accounts
from tidings.domain.clock import Clock
from tidings.domain.handles import normalise
from tidings.protocol.api import Credentials, KdfAnswer, KdfOf, LoggedIn, NewAccount
from tidings.protocol.limits import Limits, Rate
from tidings.server.http.asking import address_of
from tidings.server.http.problems import AnyRequest
from tidings.server.rate import AddressRates, KeyedRates

ADDRESSES_A_HANDLE = 4


def routes(accounts: Accounts, clock: Clock, limits: Limits) -> list[ControllerRouterHandler]:
    """`/v1/kdf`, `/v1/accounts` and `/v1/sessions`."""
    tracked = limits.addresses_tracked
    registrations = AddressRates(lambda: limits.register_rate, tracked)
    logins = AddressRates(lambda: limits.login_rate, tracked)
    questions = AddressRates(lambda: limits.login_rate, tracked)
    handles: KeyedRates[str] = KeyedRates(lambda: _of_handle(limits.login_rate), tracked)

    @post("/v1/kdf", tags=["entering"], status_code=HTTP_200_OK)
    async def kdf(data: JSONBody[KdfOf], request: AnyRequest) -> KdfAnswer:
        """How to make the login secret of a handle from its password.

        Asked before logging in. A handle that nobody has is answered like any other.
        """
        questions.check(address_of(request), clock.monotonic_s())
        return KdfAnswer(await accounts.kdf(data.handle))

    @post("/v1/accounts", tags=["entering"])
    async def register(data: JSONBody[NewAccount], request: AnyRequest) -> LoggedIn:
        """Make an account; answers with its first device's token, which is shown this once."""
        registrations.check(address_of(request), clock.monotonic_s())
        return await accounts.register(data, address=address_of(request))

    @post("/v1/sessions", tags=["entering"])
    async def login(data: JSONBody[Credentials], request: AnyRequest) -> LoggedIn:
        """Log in with handle and secret; answers with a new device's token, which is shown this once.

        `code_needed`: the account has a second factor; send the same again with its `code`.
        """
        now_s = clock.monotonic_s()
        logins.check(address_of(request), now_s)
        handles.check(normalise(data.handle), now_s)
        return await accounts.login(data, address=address_of(request))

    return [kdf, register, login]


@lru_cache(maxsize=1)
def _of_handle(rate: Rate) -> Rate:
    # One object for one rate: a bucket lasts as long as its rate does.
    return Rate(per_s=rate.per_s * ADDRESSES_A_HANDLE, burst=rate.burst * ADDRESSES_A_HANDLE)
