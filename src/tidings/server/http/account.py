"""One's own account: what it is, its handle and secret, its export and its end.

spec §7
"""

from litestar import get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK
from litestar.types import ControllerRouterHandler

from tidings.protocol.api import AccountInfo, Done, NewHandle, NewSecret, Proof
from tidings.server.account_rules import AccountRules
from tidings.server.http.asking import SECURITY, Caller


def routes(rules: AccountRules) -> list[ControllerRouterHandler]:
    """`/v1/account` but what has a module of its own."""
    accounts = rules.accounts

    @get("/v1/account", tags=["account"], security=SECURITY)
    async def account(reader: NamedDependency[Caller]) -> AccountInfo:
        """One's own account."""
        return await accounts.info(reader.user_id)

    @put("/v1/account/handle", tags=["account"], security=SECURITY)
    async def handle(data: JSONBody[NewHandle], caller: NamedDependency[Caller]) -> AccountInfo:
        """Take another handle. The present one stays yours to come back to for a while."""
        await accounts.rename(caller.user_id, data.handle)
        return await accounts.info(caller.user_id)

    @put("/v1/account/secret", tags=["account"], security=SECURITY)
    async def secret(data: JSONBody[NewSecret], caller: NamedDependency[Caller]) -> Done:
        """Change the login secret; by default all other devices are logged out."""
        await accounts.change_secret(caller.user_id, caller.device_id, data)
        return Done()

    @post("/v1/account/delete", tags=["account"], security=SECURITY, status_code=HTTP_200_OK)
    async def delete(data: JSONBody[Proof], caller: NamedDependency[Caller]) -> Done:
        """End the account, with all that is kept of its user. Messages stay with whom they went to."""
        await rules.departures.depart(caller.user_id, data)
        return Done()

    @get("/v1/account/export", tags=["account"], security=SECURITY, media_type="application/json")
    async def export(caller: NamedDependency[Caller]) -> Stream:
        """Everything that the server has of the user, as one JSON document.

        It comes as it is read. An answer that breaks off is to be asked for again.
        """
        rules.exports.admit(caller.user_id)
        return Stream(
            rules.exports.export(caller.user_id, caller.device_id),
            media_type="application/json",
            headers={
                "Content-Disposition": 'attachment; filename="tidings-export.json"',
                "Cache-Control": "no-store",
            },
        )

    return [account, handle, secret, delete, export]
