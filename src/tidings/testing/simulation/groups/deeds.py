"""What people do who are in groups, and how often each comes beside the others."""

from enum import StrEnum

from tidings.testing.simulation.people import WRITES, Deed


class GroupDeed(StrEnum):
    """What a user does about groups."""

    CREATE = "groups: made"
    ADD = "groups: somebody added"
    REMOVE = "groups: somebody removed"
    LEAVE = "groups: left"
    ROLE = "groups: role changed"
    HAND_OVER = "groups: handed over"
    INFO = "groups: info changed"
    RULES = "groups: rules changed"
    LINK = "groups: link made"
    UNLINK = "groups: link revoked"
    JOIN = "groups: joined by a link"
    ANSWER = "groups: who waits is let in or not"
    PIN = "groups: message pinned"
    CLASH = "groups: changed by two at once"
    CROSS = "groups: much is said while somebody comes or goes"
    REVOKE = "groups: device signed out"
    HIDE = "groups: receipts, or being added, shown or not"
    DEPART = "groups: account ended"
    SLEEP = "groups: somebody away for long"
    LOOK = "groups: a node looks for who sleeps"


WEIGHTS: dict[StrEnum, int] = {
    Deed.SEND: 56,
    Deed.BURST: 4,
    Deed.REPLY: 6,
    Deed.EDIT: 5,
    Deed.DELETE: 4,
    Deed.REACT: 7,
    Deed.EXPIRING: 2,
    Deed.READ: 20,
    Deed.OFFLINE: 5,
    Deed.RESTART: 2,
    Deed.SNAPSHOT: 4,
    Deed.RESTORE: 3,
    Deed.TWICE: 3,
    Deed.MEET: 3,
    Deed.LOGIN: 1,
    GroupDeed.CREATE: 1,
    GroupDeed.ADD: 9,
    GroupDeed.REMOVE: 7,
    GroupDeed.LEAVE: 3,
    GroupDeed.ROLE: 3,
    GroupDeed.HAND_OVER: 1,
    GroupDeed.INFO: 2,
    GroupDeed.RULES: 1,
    GroupDeed.LINK: 2,
    GroupDeed.UNLINK: 1,
    GroupDeed.JOIN: 6,
    GroupDeed.ANSWER: 3,
    GroupDeed.PIN: 1,
    GroupDeed.CLASH: 5,
    GroupDeed.CROSS: 6,
    GroupDeed.REVOKE: 1,
    GroupDeed.HIDE: 3,
    GroupDeed.DEPART: 1,
}
PEACEFUL: dict[StrEnum, int] = {
    **{deed: WEIGHTS[deed] for deed in (*WRITES, Deed.READ, Deed.SNAPSHOT)},
    Deed.MEET: 15,
    GroupDeed.ADD: 6,
    GroupDeed.REMOVE: 4,
    GroupDeed.ROLE: 2,
    GroupDeed.INFO: 2,
    GroupDeed.CLASH: 3,
    GroupDeed.CROSS: 3,
}
"""what happens where nothing may go wrong"""
SPEAKS = frozenset({*WRITES, Deed.READ})
"""deeds for which one must be in a group"""
