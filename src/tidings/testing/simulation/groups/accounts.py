"""Accounts: users who end theirs, or say what others may see and do."""

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from tidings.protocol import errors
from tidings.protocol.api import Proof
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import GroupAction
from tidings.protocol.ids import UserId
from tidings.server.services import Services
from tidings.testing.simulation.people import Action
from tidings.testing.world import PASSWORD

if TYPE_CHECKING:
    from tidings.testing.simulation.device import User
    from tidings.testing.simulation.groups.device import GroupDevice
    from tidings.testing.simulation.groups.people import GroupPeople
    from tidings.testing.simulation.groups.run import GroupSimulation

USERS_MIN = 4
"""that stay"""
AGAIN_S = 2.0
"""after an account could not be ended: until that is tried again"""
ADDED_S = 4.0
"""within which others try to add somebody whose account ends"""
RECEIPTS = "receipts"
GROUPS = "groups"
RECEIPTS_SHARE = 0.6


class PrivacyChange(NamedTuple):
    """What a user shows, or lets others do, from some moment on."""

    user: UserId
    what: str
    hides: bool
    asked_s: float
    answered_s: float | None = None


class Privacy:
    """What users have said to be hidden, and when that was answered."""

    def __init__(self) -> None:
        self.changes: list[PrivacyChange] = []

    def asked(self, user: UserId, what: str, *, hides: bool, now_s: float) -> None:
        """A device asks for it."""
        self.changes.append(PrivacyChange(user, what, hides, now_s))

    def answered(self, user: UserId, what: str, now_s: float) -> None:
        """It is so."""
        for place in reversed(range(len(self.changes))):
            change = self.changes[place]
            if (change.user, change.what) == (user, what):
                if change.answered_s is None:
                    self.changes[place] = change._replace(answered_s=now_s)
                return

    def is_pending(self, user: UserId, what: str) -> bool:
        """Whether a change was asked for and not answered yet."""
        return any(
            change.answered_s is None for change in self.changes if (change.user, change.what) == (user, what)
        )

    def hides(self, user: UserId, what: str, since_s: float, until_s: float) -> set[bool]:
        """Whether it was hidden within a span of time: all that may be true."""
        found: set[bool] = set()
        now = False
        for change in self.changes:
            if (change.user, change.what) != (user, what) or change.asked_s > until_s:
                continue
            if change.answered_s is None or change.answered_s >= since_s:
                found |= {now, change.hides}
            now = change.hides
        return found | {now}


def hide(people: "GroupPeople", device: "GroupDevice", action: Action) -> bool:
    """Somebody shows no receipts, or lets nobody add them to groups; or does so again."""
    what = RECEIPTS if action.where < RECEIPTS_SHARE else GROUPS
    privacy, user = people.simulation.model.privacy, device.user.user_id
    if device.live_s is None or privacy.is_pending(user, what):
        return False
    now_s = people.simulation.loop.now_s
    (hides,) = privacy.hides(user, what, now_s, now_s)
    device.hide(what, hides=not hides)
    return True


def depart(people: "GroupPeople", device: "GroupDevice", action: Action) -> bool:
    """Somebody ends their account, while others try to add them somewhere."""
    simulation, user = people.simulation, device.user
    if len(simulation.users) <= USERS_MIN:
        return False
    for record in simulation.model.records.values():
        for number, one in enumerate(simulation.devices):
            role = record.now.roles.get(one.user.user_id, -1)
            if one.user != user and role > 0 and user.user_id not in record.now.roles:
                after_s = (action.what * (number + 3)) % 1.0 * ADDED_S
                people.change_later(after_s, one, record, GroupAction.ADD, users=[user.user_id])
    simulation.depart(user)
    return True


def departing(simulation: "GroupSimulation", user: "User") -> None:
    """Have an account ended, however often that must be tried."""
    ready = [node for node in simulation.nodes if node.is_ready]
    if not ready:
        simulation.loop.after(AGAIN_S, departing, simulation, user)
        return

    def done(task: "asyncio.Task[None]") -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        is_gone = isinstance(error, ProtocolError) and error.kind is errors.WRONG_CREDENTIALS
        if error is None or is_gone:
            simulation.departed_s[user.user_id] = simulation.loop.now_s
            simulation.note(user.handle, "has ended the account", error)
        else:
            simulation.note(user.handle, "could not end the account", error)
            simulation.loop.after(AGAIN_S, departing, simulation, user)

    node = simulation.random.choice(ready)
    process = node.process
    task = node.call(_ending(user))
    task.add_done_callback(done, context=simulation.loop.world.context)

    def look() -> None:
        if process.is_dead and not task.done():
            departing(simulation, user)
        elif not task.done():
            simulation.loop.after(AGAIN_S, look)

    simulation.loop.after(AGAIN_S, look)


def _ending(user: "User") -> Any:
    async def end(services: Services) -> None:
        await services.account_rules.departures.depart(user.user_id, Proof(PASSWORD))

    return end
