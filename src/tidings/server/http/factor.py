"""The second factor of one's own account.

spec §7
"""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.status_codes import HTTP_200_OK
from litestar.types import ControllerRouterHandler

from tidings.protocol.api import Code, Done, FactorBegun, Proof, RecoveryCodes
from tidings.server.account_rules import AccountRules
from tidings.server.http.asking import SECURITY, Caller


def routes(rules: AccountRules) -> list[ControllerRouterHandler]:
    """`/v1/account/factor`."""

    @post("/v1/account/factor", tags=["account"], security=SECURITY, status_code=HTTP_200_OK)
    async def begin(data: JSONBody[Proof], caller: NamedDependency[Caller]) -> FactorBegun:
        """Get a secret for an authenticator app. Nothing is asked for until it is confirmed."""
        return await rules.accounts.begin_factor(caller.user_id, data)

    @post("/v1/account/factor/confirm", tags=["account"], security=SECURITY, status_code=HTTP_200_OK)
    async def confirm(data: JSONBody[Code], caller: NamedDependency[Caller]) -> RecoveryCodes:
        """Put the second factor in force; answers with recovery codes, which are shown this once."""
        return RecoveryCodes(await rules.factors.confirm(caller.user_id, data.code))

    @post("/v1/account/factor/remove", tags=["account"], security=SECURITY, status_code=HTTP_200_OK)
    async def remove(data: JSONBody[Proof], caller: NamedDependency[Caller]) -> Done:
        """Be asked for no code any more. Takes a code, or a recovery code, this last time."""
        await rules.accounts.remove_factor(caller.user_id, data)
        return Done()

    return [begin, confirm, remove]
