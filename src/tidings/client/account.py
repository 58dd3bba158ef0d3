"""One's own account, over HTTP: what it is, and everything about it that can be changed.

spec §7
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tidings.client import http
from tidings.client.http import Server
from tidings.client.login_secret import check_password, derive, new_kdf
from tidings.protocol.api import (
    AccountInfo,
    Code,
    Done,
    FactorBegun,
    NewHandle,
    NewPhone,
    NewSecret,
    ProfileBody,
    Proof,
    RecoveryCodes,
)


class OwnAccount:
    """`me.account`. Every method asks the server and raises Refused, Unreachable."""

    def __init__(
        self,
        server: Server,
        token: Callable[[], str],
        entropy: Callable[[int], bytes],
        login_secret: Callable[[str], Awaitable[str]],
    ) -> None:
        """`token` is asked for at each request: it may be renewed. `login_secret`: of a password."""
        self._server = server
        self._token = token
        self._entropy = entropy
        self._login_secret = login_secret

    async def info(self) -> AccountInfo:
        """What the server knows of the account.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            print((await me.account.info()).handle)
        ```
        """
        return await self._ask("GET", "/v1/account", AccountInfo)

    async def rename(self, handle: str) -> AccountInfo:
        """Take another handle; the present one is kept for this account for a while.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.rename("alice.b")
        ```
        """
        return await self._ask("PUT", "/v1/account/handle", AccountInfo, NewHandle(handle))

    async def change_password(
        self, password: str, new_password: str, *, code: str = "", sign_out_others: bool = True
    ) -> None:
        """Have another password. All other devices are signed out, unless told not to.

        `code` is of the second factor, if there is one.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.change_password("a long secret", "an even longer secret")
        ```
        """
        check_password(new_password)
        kdf = new_kdf(self._entropy)
        secret = await derive(new_password, kdf)
        present = await self._login_secret(password)
        body = NewSecret(present, secret, kdf, code, sign_out_others)
        await self._ask("PUT", "/v1/account/secret", Done, body)

    async def begin_second_factor(self, password: str) -> FactorBegun:
        """Get the secret for an authenticator app; it is in force once `confirm_second_factor` was called.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            begun = await me.account.begin_second_factor("a long secret")
            print(begun.uri)
        ```
        """
        proof = Proof(await self._login_secret(password))
        return await self._ask("POST", "/v1/account/factor", FactorBegun, proof)

    async def confirm_second_factor(self, code: str) -> list[str]:
        """Put it in force with the app's first code; returns recovery codes, which are shown this once.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            begun = await me.account.begin_second_factor("a long secret")
            print(begun.uri)
            codes = await me.account.confirm_second_factor(input("The app says: "))
        ```
        """
        answer = await self._ask("POST", "/v1/account/factor/confirm", RecoveryCodes, Code(code))
        return answer.codes

    async def remove_second_factor(self, password: str, code: str) -> None:
        """Be asked for no code any more; `code` may be a recovery code.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            begun = await me.account.begin_second_factor("a long secret")
            codes = await me.account.confirm_second_factor(input("The app says: "))
            await me.account.remove_second_factor("a long secret", codes[0])
        ```
        """
        await self._ask(
            "POST", "/v1/account/factor/remove", Done, Proof(await self._login_secret(password), code)
        )

    async def set_phone(self, phone: str) -> None:
        """Have a code sent to a phone number, written with + and the country's code.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.set_phone("+49 30 123456")
        ```
        """
        await self._ask("POST", "/v1/account/phone", Done, NewPhone(phone))

    async def confirm_phone(self, code: str) -> AccountInfo:
        """Prove with the code that the number is one's own.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.set_phone("+49 30 123456")
            await me.account.confirm_phone(input("The code: "))
        ```
        """
        return await self._ask("POST", "/v1/account/phone/confirm", AccountInfo, Code(code))

    async def remove_phone(self) -> None:
        """Have the number forgotten.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.remove_phone()
        ```
        """
        await self._ask("DELETE", "/v1/account/phone", Done)

    async def set_profile(self, *, name: str | None = None, about: str | None = None) -> AccountInfo:
        """Say who one is: a name, and a text about oneself. None leaves one as it is, empty removes it.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.set_profile(name="Alice", about="Gone fishing")
        ```
        """
        now = await self.info()
        body = ProfileBody(now.name if name is None else name, now.about if about is None else about)
        return await self._ask("PUT", "/v1/profile", AccountInfo, body)

    async def set_picture(self, path: str | Path) -> AccountInfo:
        """Show a picture: a file with a PNG, JPEG or WebP of at most 64 KiB. Raises OSError.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.set_picture("alice.png")
        ```
        """
        picture = await asyncio.to_thread(Path(path).read_bytes)
        return await self._ask("PUT", "/v1/profile/picture", AccountInfo, picture)

    async def remove_picture(self) -> AccountInfo:
        """Show no picture any more.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.remove_picture()
        ```
        """
        return await self._ask("DELETE", "/v1/profile/picture", AccountInfo)

    async def export(self, path: str | Path) -> None:
        """Write all that the server has of this user to a new file, as JSON. Raises FileExistsError.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.export("alice.json")
        ```
        """
        await http.download(self._server, "/v1/account/export", self._token(), Path(path))

    async def delete(self, password: str, *, code: str = "") -> None:
        """End the account, for good. Messages stay with those to whom they were sent.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            await me.account.delete("a long secret")
        ```
        """
        await self._ask("POST", "/v1/account/delete", Done, Proof(await self._login_secret(password), code))

    async def _ask(self, method: str, path: str, answer: type[http.T], body: http.Body = None) -> http.T:
        return await http.ask(self._server, method, path, answer, body, token=self._token())
