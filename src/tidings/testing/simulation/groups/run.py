"""One run of groups: a seed, six people in groups and channels, the nodes, and what befalls them.

The course of things is that of `run.py`. The limits are small, so that groups go from one way of reaching
their members to the other all the time.
"""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, ClassVar

from tidings.protocol.api import LoggedIn
from tidings.protocol.frames import GroupAction
from tidings.protocol.ids import ConversationId, DeviceId, UserId
from tidings.protocol.limits import Limits
from tidings.server.config import Config
from tidings.server.services import Services
from tidings.store.contract import Row, Table
from tidings.store.schema import MEMBERSHIPS, ROSTERS, SLEEPS, RosterRow
from tidings.testing.simulation.device import Device, User
from tidings.testing.simulation.faults import MachineFault
from tidings.testing.simulation.groups import absences, accounts, checks, deeds
from tidings.testing.simulation.groups.device import GroupDevice
from tidings.testing.simulation.groups.model import NOTED_S, GroupModel
from tidings.testing.simulation.groups.people import GroupPeople
from tidings.testing.simulation.groups.record import COMES
from tidings.testing.simulation.groups.views import Views
from tidings.testing.simulation.run import Course, Options, Plan, Simulation, plan

HANDLES = ("alice", "bob", "carol", "dave", "erin", "frank")
TWO_DEVICES = HANDLES[:3]
"""who has two devices in the beginning; the others have one"""
COURSE = Course(
    calm_s=15.0,
    family_s=30.0,
    all_s=45.0,
    calm_messages=15,
    family_messages=20,
    all_messages=40,
    end_messages=20,
    family_faults=(3, 7),
    all_faults=(6, 12),
)
AGAIN_S = 2.0
"""after a device could not be signed out: until that is tried again"""
SHOWN_S = 20.0
"""after a while in which nothing happened: until what was found then is told"""


class GroupSimulation(Simulation):
    """See the module's text."""

    handles: ClassVar[Sequence[str]] = HANDLES
    model: GroupModel
    devices: list[GroupDevice]  # type: ignore[assignment]
    people: GroupPeople

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.model = GroupModel(lambda: self.loop.now_s)
        self.people = GroupPeople(self)
        self.signed_out: list[GroupDevice] = []
        self.codes: dict[ConversationId, list[bytes]] = {}
        """of invite links"""
        self.departed: list[User] = []
        """whose account ends"""
        self.departed_s: dict[UserId, float] = {}
        """when that was answered"""
        self.views: dict[UserId, Views] = {}
        """what each user is told of groups in the end"""

    # --- what is different --------------------------------------------------------------------

    def config(self, random: Random) -> Config:
        """How the nodes are configured."""
        self.asks = False
        write = random.choice([3, 4])
        limits = Limits(
            window_entries=random.choice([3, 16, 256]),
            state_bytes=random.choice([64, 65_536]),
            fanout_write_members=write,
            fanout_write_again=2,
            fanout_both_s=random.choice([3.0, 8.0]),
            group_members=random.choice([len(HANDLES) - 1, len(HANDLES)]),
            seen_s=absences.SEEN_S,
            dormant_s=absences.DORMANT_S,
            dormant_sweep_s=1,
        )
        return Config(limits=limits)

    def planned(self, *, is_cluster: bool) -> Plan:
        """What is to happen."""
        weights = {True: deeds.PEACEFUL, False: deeds.WEIGHTS}
        found = plan(f"{self.options.seed}/groups", COURSE, weights, is_cluster=is_cluster)
        random = Random(f"{self.options.seed}/absences")  # noqa: S311 - a seed replays the run
        return found._replace(actions=[*found.actions, *absences.plan(random, found.phases)])

    def new_device(
        self, name: str, user: User, device_id: DeviceId, token: str, random: Random
    ) -> GroupDevice:
        """A device of a user."""
        return GroupDevice(self, name, user, device_id, token, random)

    def devices_of(self, handle: str) -> int:
        """How many a user begins with."""
        return 2 if handle in TWO_DEVICES else 1

    async def open_conversations(self) -> None:
        """Nobody writes to anybody alone."""

    async def begin(self) -> None:
        """Two groups and a channel, each with an admin beside its owner."""
        ids = [user.user_id for user in self.users]
        alice, bob, carol = ({one.user.handle: one for one in self.devices}[name] for name in HANDLES[:3])
        self.people.create(alice, ids[1:3], is_channel=False)
        self.people.create(bob, [ids[0], *ids[2:4]], is_channel=False)
        self.people.create(carol, [*ids[:2], *ids[3:5]], is_channel=True)
        await self.until(lambda: not any(device.wishes for device in self.devices))
        for record in list(self.model.records.values()):
            owner = record.now.head.made_by
            device = next(one for one in self.devices if one.user.user_id == owner)
            self.people.promote(device, record, next(user for user in record.now.roles if user != owner))
        await self.until(lambda: not any(device.wishes for device in self.devices))

    async def after_end(self) -> None:
        """Whoever was there all the time knows how far each message has come."""
        checks.told_unasked(self)

    async def look_back(self, device: GroupDevice) -> None:  # type: ignore[override]
        """A new device reads all that its user may, and asks what each group is."""
        await super().look_back(device)
        views = self.views[device.user.user_id] = Views(device, list(self.model.records))
        views.fetch()
        await self.until(views.goes_on)

    def check(self) -> None:
        """Find all that is broken."""
        checks.check(self)

    # --- for the parts ------------------------------------------------------------------------

    def was_set(self, table: Table[Any], row: Row, also: Sequence[Row]) -> None:
        """A group was changed, or something else was set."""
        if table is ROSTERS:
            assert isinstance(row, RosterRow)
            members = [one for one in also if isinstance(one, RosterRow)]
            self.note("store", "group is now", row.conversation_id, row.head)
            self.model.stored(row, members, self.loop.now_s)
            self._disturb_who_came(row)

    def everybody(self) -> Sequence[GroupDevice]:
        """Also the devices that are gone."""
        return [*self.devices, *self.signed_out]

    def all_users(self) -> Sequence[User]:
        """Also those whose account ends."""
        return [*self.users, *self.departed]

    def ever_slept(self, user: UserId) -> bool:
        """Whether a user may ever have been dormant."""
        return any(row.user_id == user for row in self.scan(SLEEPS))

    def is_listed(self, conversation: ConversationId, user: UserId, since_s: float, until_s: float) -> bool:
        """Whether a member must have found their group since some moment.

        Of a channel that is once their coming was told, which takes as long as the store of one node does;
        and whatever that does, from when anybody was answered that they had come.
        """
        if not self.model.records[conversation].is_channel or self.model.came_by(conversation, user, since_s):
            return True
        if not self.model.was_member(conversation, user, since_s - NOTED_S, until_s):
            return False
        names = {
            (row.user_id, row.conversation_id) for row in self.scan(MEMBERSHIPS) if row.left_version is None
        }
        return (user, conversation) in names

    def was_paused(self, begin_s: float, end_s: float) -> bool:
        """Whether a machine may have been paused with its clocks within a span of time."""
        return any(
            self.began_s + one.at_s <= end_s and begin_s <= self.began_s + one.at_s + one.length_s
            for one in self.plan.injections
            if one.fault is MachineFault.PAUSED
        )

    def anybody_hides(self, since_s: float) -> bool:
        """Whether somebody may have let nobody add them, at some time since."""
        hides = self.model.privacy.hides
        return any(
            True in hides(user.user_id, accounts.GROUPS, since_s, self.loop.now_s)
            for user in self.all_users()
        )

    def sign_out(self, device: GroupDevice) -> None:
        """Have a device signed out, however often that must be tried."""
        self._lose(device)
        self._sign_out(device)

    def depart(self, user: User) -> None:
        """Have a user's account ended, however often that must be tried."""
        self.users.remove(user)
        self.departed.append(user)
        self.model.departed.add(user.user_id)
        for device in [device for device in self.devices if device.user == user]:
            self._lose(device)
        accounts.departing(self, user)

    # --- inside -----------------------------------------------------------------------------

    def _disturb_who_came(self, row: RosterRow) -> None:
        """Who is new reads on as soon as they are told, which takes as long as the store of one node does."""
        change = None if row.head is None else row.head.change
        if change is not None and change.action in (GroupAction.CREATE, *COMES):
            for device in self.devices:
                if device.user.user_id in change.users:
                    self._disturb_until_told(device, row.conversation_id, change.version)

    def _disturb_until_told(self, device: GroupDevice, conversation: ConversationId, version: int) -> None:
        now_s = self.loop.now_s
        device.calm.disturbed(now_s, now_s + NOTED_S)
        self.loop.after(NOTED_S, self._disturb_if_untold, device, conversation, version)

    def _disturb_if_untold(self, device: GroupDevice, conversation: ConversationId, version: int) -> None:
        """A change whose own node cannot tell it is told by another one, whose store may be slow as well."""
        now_s = self.loop.now_s
        is_told = (conversation, version) in device.groups_profile.changes
        if not is_told and not all(node.calm.holds(now_s, now_s) for node in self.nodes):
            self._disturb_until_told(device, conversation, version)

    def _lose(self, device: GroupDevice) -> None:
        device.is_revoked = True
        self.devices.remove(device)
        self.signed_out.append(device)
        self.model.gone.add(device.device_id)
        self.note(device.name, "is signed out")

    def _add_device(self, account: LoggedIn, user: User) -> Device:
        device = super()._add_device(account, user)
        if user in self.departed:  # it was on its way in
            assert isinstance(device, GroupDevice)
            self._lose(device)
        return device

    def _sign_out(self, device: GroupDevice) -> None:
        ready = [node for node in self.nodes if node.is_ready]
        if not ready:
            self.loop.after(AGAIN_S, self._sign_out, device)
            return

        def done(task: "asyncio.Task[bool]") -> None:
            if task.cancelled() or task.exception() is not None:
                self.loop.after(AGAIN_S, self._sign_out, device)

        task = self.random.choice(ready).call(_revoking(device))
        task.add_done_callback(done, context=self.loop.world.context)


def _revoking(device: GroupDevice) -> Any:
    async def revoke(services: Services) -> None:
        # (Who signs a device out does so by HTTP.)
        await services.accounts._devices.revoke(device.user.user_id, device.device_id)

    return revoke
