"""Safety: whether the keys that one encrypts for are those of the people that one means.

Both sides of a conversation see the same sixty digits, made of both identities. Who compares them over
another way (reading them aloud, or one scanning the other's QR code) knows that nobody is in between.

spec §6.16
"""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

import tidings_core as core

from tidings.client.conversations import Ask, Conversations, normal
from tidings.client.directory import not_a_user
from tidings.client.errors import ClientError
from tidings.client.group_values import is_group
from tidings.client.sealing import lists
from tidings.client.sealing.supplies import Supplies
from tidings.client.transcript import Self
from tidings.client.vault import Vault
from tidings.protocol.ids import UserId

GROUP = 5
"""digits that stand together"""


class SafetyNumber(NamedTuple):
    """What to compare with somebody."""

    digits: str
    """sixty; the same for both"""
    code: bytes
    """for a QR code, which the other one's device scans"""
    verified: bool
    """they were compared, and neither identity has changed since"""

    def __str__(self) -> str:
        """In twelve groups of five."""
        return " ".join(self.digits[at : at + GROUP] for at in range(0, len(self.digits), GROUP))


class Safety:
    """`me.safety`."""

    def __init__(
        self, vault: Vault, conversations: Conversations, supplies: Supplies, ask: Ask, me: Self
    ) -> None:
        self._vault = vault
        self._conversations = conversations
        self._supplies = supplies
        self._ask = ask
        self._me = me

    async def number(self, peer: str) -> SafetyNumber:
        """The safety number with somebody. Raises Refused, ClientError if they have no keys.

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.safety.number("@bob"))
        ```
        """
        user_id = await self._find(peer)
        await self._supplies.lists([self._me.user_id, user_id], self._ask)
        return await self._vault.read(self._reading(user_id, peer))

    async def verify(self, peer: str, scanned: bytes | None = None) -> SafetyNumber:
        """Note that the safety number was compared, and is the same; or compare a scanned QR code.

        Raises ClientError if what was scanned is another one's, or of other keys.

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.safety.number("@bob"))
            if input("Is it the same at bob's? ") == "yes":
                await me.safety.verify("@bob")
        ```
        """
        user_id = await self._find(peer)
        number = await self._vault.read(self._reading(user_id, peer))
        if scanned is not None and not core.compare_safety_code(number.code, scanned):
            raise ClientError(
                f"the code is not the one of @{normal(peer)}'s keys",
                "did it come from their device? if so, somebody is in between: do not write to them here",
            )
        await self._vault.write(lambda database: lists.trust(database, user_id, verified=True))
        return number._replace(verified=True)

    async def accept(self, peer: str) -> None:
        """Go on after a change of identity, without having compared (see `Surroundings.strict`).

        ```python
        async with Client.open("profiles/alice") as me:
            await me.safety.accept("@bob")
        ```
        """
        user_id = await self._find(peer)
        await self._vault.write(lambda database: lists.trust(database, user_id, verified=False))

    async def _find(self, peer: str) -> UserId:
        peer = normal(peer)
        if is_group(peer):
            raise not_a_user(peer)
        return (await self._conversations.with_peer(peer, self._ask)).peer_id

    def _reading(self, user_id: UserId, peer: str) -> Callable[[sqlite3.Connection], SafetyNumber]:
        def read(database: sqlite3.Connection) -> SafetyNumber:
            mine, theirs = (lists.verdict(database, user) for user in (self._me.user_id, user_id))
            if mine is None or theirs is None:
                who = "you have" if mine is None else f"@{normal(peer)} has"
                raise ClientError(f"{who} no keys yet", "there are some once a client that encrypts was used")
            both = (
                self._me.user_id.to_bytes(8, "big"),
                mine.identity,
                user_id.to_bytes(8, "big"),
                theirs.identity,
            )
            return SafetyNumber(core.safety_number(*both), core.safety_code(*both), theirs.verified)

        return read
