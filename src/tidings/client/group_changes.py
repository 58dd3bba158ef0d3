"""What the server says of a change of a group, as programs see it: with names instead of ids.

spec §6.17
"""

import sqlite3

from tidings.client import contents, group_info, known_groups, names
from tidings.client.group_values import Change
from tidings.protocol.frames import GroupAction, GroupRole, Message
from tidings.protocol.ids import UserId


def shown(database: sqlite3.Connection, message: Message, me: UserId, my_handle: str) -> Change | None:
    """The change that a message tells of; None if it is a message, or of an action that is not known here."""
    change = contents.change_of(message)
    if change is None or change.action not in _ACTIONS:
        return None
    called = {**names.of(database, {message.sender_id, *change.users}), me: my_handle}
    scheme = known_groups.scheme(database, message.conversation_id)
    info = group_info.told(database, message.conversation_id, scheme, change.info)
    return Change(
        GroupAction(change.action),
        called[message.sender_id],
        tuple(called[user_id] for user_id in change.users),
        GroupRole(change.role) if change.role in _ROLES else GroupRole.MEMBER,
        info.name,
        info.about,
        None if change.rules is None else known_groups.rules_of(change.rules),
        change.relates_to,
        bool(change.picture),
    )


_ACTIONS = frozenset(int(action) for action in GroupAction)
_ROLES = frozenset(int(role) for role in GroupRole)
