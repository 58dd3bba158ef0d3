"""The phone number of one's own account.

spec §7
"""

from litestar import delete, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK
from litestar.types import ControllerRouterHandler

from tidings.domain.accounts import Accounts
from tidings.domain.phones import Phones
from tidings.protocol.api import AccountInfo, Code, Done, NewPhone
from tidings.server.http.asking import SECURITY, Caller


def routes(phones: Phones, accounts: Accounts) -> list[ControllerRouterHandler]:
    """`/v1/account/phone`."""

    @post("/v1/account/phone", tags=["account"], security=SECURITY, status_code=HTTP_200_OK)
    async def begin(data: JSONBody[NewPhone], caller: NamedDependency[Caller]) -> Done:
        """Have a code sent to a number. The answer is the same whether anybody has the number or not."""
        await phones.begin(caller.user_id, data.phone)
        return Done()

    @post("/v1/account/phone/confirm", tags=["account"], security=SECURITY, status_code=HTTP_200_OK)
    async def confirm(data: JSONBody[Code], caller: NamedDependency[Caller]) -> AccountInfo:
        """Make the number one's own, by the code that was sent there."""
        await phones.confirm(caller.user_id, data.code)
        return await accounts.info(caller.user_id)

    @delete("/v1/account/phone", tags=["account"], security=SECURITY, status_code=HTTP_200_OK)
    async def remove(caller: NamedDependency[Caller]) -> Done:
        """Give the number up."""
        await phones.remove(caller.user_id)
        return Done()

    return [begin, confirm, remove]
