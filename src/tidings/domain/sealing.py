"""Sealing: what the server can see of a sealed message, which is for whom it was sealed.

Content and envelopes are opaque. But a message that is sealed for a device that was removed, for nobody, or
for somebody else is refused, and a conversation that was sealed once stays so.

spec §6.16
"""

from typing import cast

from tidings.domain.conversation import Conversation
from tidings.domain.device_lists import DeviceLists, KnownDevices
from tidings.protocol.errors import INTERNAL, INVALID, SCHEME_FELL, ProtocolError
from tidings.protocol.frames import DevicesChanged, Relation, Scheme, Send
from tidings.protocol.ids import DeviceId, UserId
from tidings.store.schema import GroupHead


class Sealing:
    """Compares envelopes with device lists."""

    def __init__(self, lists: DeviceLists) -> None:
        self._lists = lists

    def is_ready(self, conversation: Conversation, send: Send) -> bool:
        """Whether `check` may be called at once; else `learn` first."""
        known = self._known(conversation)
        return known is not None and not _is_behind(known, send) and not _strangers(known, send.envelopes)

    async def learn(self, conversation: Conversation, send: Send) -> DevicesChanged | None:
        """See to it that `check` may be called, in the same turn; or what a sender is to be told instead.

        Raises StoreError.
        """
        await self._lists.learn(conversation.members)
        if self.is_ready(conversation, send):
            return None
        # It may be another node that has changed them, which the sender knows of and this one did not.
        await self._lists.learn(conversation.members, anew=True)
        known = self._held(conversation)
        if known is None:
            return await self.learn(conversation, send)
        if not _is_behind(known, send):
            return None
        keys_at, lists = await self._lists.signed(conversation.members)
        return DevicesChanged(send.client_id, keys_at, lists)

    def check(self, conversation: Conversation, device: DeviceId, send: Send) -> None:
        """Refuse what is sealed for the wrong devices. Raises ProtocolError (invalid)."""
        if conversation.group is not None:
            check_group_scheme(conversation.group.head, send)
            return
        if send.scheme != Scheme.DIRECT:
            raise ProtocolError(INVALID, "a direct conversation is sealed by scheme 1")
        known = self._held(conversation)
        if known is None:
            raise ProtocolError(INTERNAL)  # whoever calls this has learnt them
        strangers = _strangers(known, send.envelopes)
        if strangers:
            raise ProtocolError(INVALID, f"an envelope for {strangers[0]}, which is no device of a member")
        if not send.envelopes and send.relation != Relation.DELETE and _others(known, device):
            raise ProtocolError(INVALID, "a sealed message needs envelopes")

    def missing(
        self, conversation: Conversation, device: DeviceId, send: Send, version: int | None = None
    ) -> list[DeviceId]:
        """Devices that were added since the sender looked, and can therefore not read it.

        In a group also those of members who joined since; but nobody's to whom it is not, where it was
        accepted before: at a `version`.
        """
        if send.relation == Relation.DELETE and not send.envelopes:
            return []
        group, joined = conversation.group, dict[UserId, int]()
        if group is not None and send.version < conversation.version:
            joined = group.joined
        missing: list[DeviceId] = []
        for keys in self._held(conversation) or ():
            if version is not None and not conversation.entitled(keys.user_id, version):
                continue
            since = -1 if joined.get(keys.user_id, 0) > send.version else send.keys_at
            if keys.newest_at > since:
                missing += [
                    other
                    for other, added_at in keys.added_at.items()
                    if added_at > since
                    and other != device
                    and other not in keys.gone
                    and other not in send.envelopes
                ]
        return sorted(missing)

    def shares(
        self, conversation: Conversation, envelopes: dict[DeviceId, bytes]
    ) -> dict[UserId, dict[DeviceId, bytes]]:
        """The envelopes that are for each member's devices."""
        if not envelopes:
            return {}
        return {
            keys.user_id: {device: key for device, key in envelopes.items() if device in keys.added_at}
            for keys in self._held(conversation) or ()
        }

    async def owners(
        self, conversation: Conversation, envelopes: dict[DeviceId, bytes]
    ) -> dict[DeviceId, UserId]:
        """Whose devices envelopes are for, without those that are gone.

        Raises ProtocolError (invalid) for one that is no member's, StoreError.
        """
        await self._lists.learn(conversation.members)
        known = self._known(conversation)
        if known is None or _strangers(known, envelopes):
            await self._lists.learn(conversation.members, anew=True)
            known = self._held(conversation)
        if known is None:
            return await self.owners(conversation, envelopes)
        strangers = _strangers(known, envelopes)
        if strangers:
            raise ProtocolError(INVALID, f"an envelope for {strangers[0]}, which is no device of a member")
        return {
            device: keys.user_id
            for keys in known
            for device in envelopes
            if device in keys.added_at and device not in keys.gone
        }

    def _known(self, conversation: Conversation) -> list[KnownDevices] | None:
        """What is known of all members, if it may be trusted."""
        return _all([self._lists.known(member) for member in conversation.members])

    def _held(self, conversation: Conversation) -> list[KnownDevices] | None:
        """What was just read of all members, however long that took."""
        return _all([self._lists.held(member) for member in conversation.members])


def check_group_scheme(group: GroupHead, send: Send) -> None:
    """Refuse what a group is not sealed by. Raises ProtocolError (invalid)."""
    if send.scheme != Scheme.SENDER_KEY or not group.scheme:
        raise ProtocolError(INVALID, f"this group is sealed by scheme {group.scheme}")
    if send.envelopes:
        raise ProtocolError(INVALID, "the key of a sealed group goes before its messages")


def check_scheme(conversation: Conversation, send: Send) -> None:
    """Refuse a plain message where it must be sealed. Raises ProtocolError (scheme_fell, invalid).

    That a message was deleted says nothing that could be sealed.
    """
    if send.envelopes:
        raise ProtocolError(INVALID, "envelopes belong to a sealed message")
    if conversation.scheme and send.relation != Relation.DELETE:
        raise ProtocolError(SCHEME_FELL)


def _all(found: list[KnownDevices | None]) -> list[KnownDevices] | None:
    return None if None in found else cast("list[KnownDevices]", found)


def _is_behind(known: list[KnownDevices], send: Send) -> bool:
    return send.keys_at < max([keys.removal_at for keys in known])


def _strangers(known: list[KnownDevices], envelopes: dict[DeviceId, bytes]) -> list[DeviceId]:
    left = set(envelopes)
    for keys in known:
        left.difference_update(keys.added_at)
    return sorted(left)


def _others(known: list[KnownDevices], device: DeviceId) -> bool:
    return any(other != device and other not in keys.gone for keys in known for other in keys.added_at)
