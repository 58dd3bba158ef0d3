"""Linking: how people let devices in and take them out, as patiently as people are."""

import asyncio
from typing import TYPE_CHECKING

from tidings.client import Client, ClientError, http
from tidings.client.errors import Refused, SessionEnded, Unreachable
from tidings.client.http import Server
from tidings.protocol.api import LoggedIn
from tidings.testing.simulation.device import User
from tidings.testing.simulation.sealed.network import Network, Tap
from tidings.testing.world import PASSWORD

if TYPE_CHECKING:
    from tidings.testing.simulation.sealed.device import Device
    from tidings.testing.simulation.sealed.run import Sealed

LINKED_S = 25.0
"""how long somebody waits for a device to be in, before they try another code"""
AGAIN_S = (1.0, 6.0)
"""until somebody tries again"""
LOGIN_TRIES = 6
HANDED_OVER_S = 20.0
"""after a device was taken out: until the next one is"""
SEE_S = 15.0
"""how often a program looks whether it is in"""


class Linking:
    """See the module's text."""

    def __init__(self, simulation: "Sealed") -> None:
        self._simulation = simulation
        self._loop = simulation.loop
        self._random = simulation.random

    # --- in -----------------------------------------------------------------------------------

    async def log_in(self, user: User) -> None:
        """Make a further device of a user; it is let in by its program, once that runs."""
        simulation = self._simulation
        network = Network(simulation, self._random, Tap())
        server = simulation.server._replace(request=network.request)
        for _ in range(LOGIN_TRIES):
            try:
                account = await _login(server, user)
            except (Refused, Unreachable) as error:
                simulation.note(user.handle, "cannot log in", repr(error))
                await asyncio.sleep(self._random.uniform(*AGAIN_S))
                continue
            simulation.add_device(user, account).start()
            simulation.tally.count("devices: added")
            return

    async def see_to(self, device: "Device", client: Client) -> None:
        """As a program does that is not in: look, and show a code until somebody approves it."""
        member = self._simulation.model.memberships[device]
        waited_s = 0.0
        while True:
            is_in = await client.devices.is_linked()
            if is_in and member.linked_s is None:
                member.linked_s = self._loop.now_s
                device.note("is linked")
                self._simulation.tally.count("devices: linked")
            # One that was in before gets what it lacks by itself, or has to be let in once more.
            if device.has_doubts or (not is_in and (member.linked_s is None or waited_s > LINKED_S)):
                device.has_doubts = False
                await self._link(device, client)
                continue
            waited_s = 0.0 if is_in else waited_s + SEE_S
            await asyncio.sleep(SEE_S)

    async def _link(self, device: "Device", client: Client) -> None:
        approver = self._other(device)
        if approver is None:
            await asyncio.sleep(self._random.uniform(*AGAIN_S))
            return
        device.codes += 1
        try:
            code = await client.devices.link_code()
            approver.do(self._approve(approver, code))
            async with asyncio.timeout(LINKED_S):
                await client.devices.linked()
        except (ClientError, TimeoutError) as error:
            if isinstance(error, SessionEnded):
                raise
            device.note("is not linked yet", repr(error))
            await asyncio.sleep(self._random.uniform(*AGAIN_S))

    async def _approve(self, approver: "Device", code: str) -> None:
        if approver.client is None:
            return  # it was closed just now
        approver.note("approves")
        try:
            await approver.client.devices.approve(code)
            approver.note("has approved")
        except ClientError as error:
            approver.note("cannot approve", repr(error))

    def _other(self, device: "Device") -> "Device | None":
        """A device of the same user that is in, and there."""
        there = [
            one for one in self._simulation.model.linked(device.user) if one is not device and one.is_online
        ]
        return self._random.choice(there) if there else None

    # --- out ----------------------------------------------------------------------------------

    def remove(self, device: "Device", *, stolen: bool) -> bool:
        """Have a device taken out by another one; whether there is one."""
        member = self._simulation.model.memberships[device]
        by = self._other(device)
        if by is None or (member.removal_s is None and member.linked_s is None):
            return False
        if member.removal_s is None:
            # One at a time, as one person does it: who takes out the device that has just made another
            # identity, and has told nobody yet, begins anew.
            if self._is_busy(device.user) or len(self._simulation.model.linked(device.user)) < 2:
                return False
            member.removal_s = self._loop.now_s
            member.is_stolen = stolen
        by.do(self._remove(by, device))
        return True

    def _is_busy(self, user: User) -> bool:
        """Whether a device of a user is being taken out, or has just been."""
        members = self._simulation.model.memberships
        return any(
            member.removal_s is not None
            and (member.removed_s is None or self._loop.now_s - member.removed_s < HANDED_OVER_S)
            for device, member in members.items()
            if device.user == user
        )

    async def _remove(self, by: "Device", device: "Device") -> None:
        """Try until it is done, or this program ends."""
        simulation = self._simulation
        member = simulation.model.memberships[device]
        while member.removed_s is None and by.client is not None:
            try:
                if not await by.client.devices.is_linked():
                    await asyncio.sleep(self._random.uniform(*AGAIN_S))
                    continue
                by.note("revokes" if member.is_stolen else "signs out", device.name)
                if member.is_stolen:
                    await by.client.devices.revoke_stolen(str(device.device_id), PASSWORD)
                else:
                    await by.client.devices.sign_out(str(device.device_id))
            except SessionEnded:
                return
            except ClientError as error:
                by.note("cannot take out", device.name, repr(error))
                if _was_out(error):
                    break
                await asyncio.sleep(self._random.uniform(*AGAIN_S))
                continue
            break
        else:
            return
        if member.removed_s is None:
            member.removed_s = self._loop.now_s
            by.note("has taken out", device.name)
            simulation.tally.count(
                "devices: revoked as stolen" if member.is_stolen else "devices: signed out"
            )
            device.copy()

    def identity_since_s(self, user: User) -> float:
        """Since when a user surely has the identity that they have now."""
        stolen = [
            member
            for device, member in self._simulation.model.memberships.items()
            if device.user == user and member.is_stolen
        ]
        return max((member.removed_s or float("inf") for member in stolen), default=0.0)


def _was_out(error: ClientError) -> bool:
    """Whether a failure says that it was done before."""
    return "is not in the list" in error.message or (
        isinstance(error, Refused) and error.name == "no_such_device"
    )


async def _login(server: Server, user: User) -> LoggedIn:
    return await http.login(server, user.handle, PASSWORD, device_name="", code="", plain_password=True)
