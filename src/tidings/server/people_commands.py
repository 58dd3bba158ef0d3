"""What a device may ask about people, and set for itself. See `commands.py` for the manner.

spec §6.11 to §6.13, §6.16
"""

from functools import partial

from tidings.protocol.frames import (
    Bundles,
    Claim,
    DeviceLists,
    Devices,
    Lookup,
    Ok,
    People,
    Profiles,
    Report,
    Set,
)
from tidings.server.session import Session


async def confirmed(session: Session) -> None:
    """Return if the device is still here to ask for what it asked. Raises ProtocolError (overloaded)."""
    if session.services.cluster is not None and session.feed is not None:
        await session.services.cluster.places.confirm(session)


async def set_setting(session: Session, frame: Set) -> None:
    """Change a setting; the other devices of the user are told."""
    await session.services.settings.set(
        session.known_user.user_id,
        frame.kind,
        frame.key,
        frame.value,
        device=session.device_id,
        confirmed=partial(confirmed, session),
    )
    session.send(Ok(frame.request_id))


async def report(session: Session, frame: Report) -> None:
    """Tell the operator about somebody."""
    await session.services.people.check_known(session.known_user.user_id, [frame.user_id])
    await session.services.reports.report(session.known_user.user_id, frame)
    session.send(Ok(frame.request_id))


async def look_up(session: Session, frame: Lookup) -> None:
    """Find somebody by handle or phone."""
    person = await session.services.people.lookup(session.known_user.user_id, frame.handle, frame.phone)
    session.send(People(frame.request_id, [person]))


async def profiles(session: Session, frame: Profiles) -> None:
    """How others show themselves."""
    people = await session.services.people.profiles(session.known_user.user_id, frame.user_ids)
    session.send(People(frame.request_id, people))


async def devices(session: Session, frame: Devices) -> None:
    """Which devices users have signed."""
    keys_at, lists = await session.services.claims.lists(session.known_user.user_id, frame.user_ids)
    session.send(DeviceLists(frame.request_id, keys_at, lists))


async def claim(session: Session, frame: Claim) -> None:
    """What it takes to write to devices for the first time."""
    bundles = await session.services.claims.claim(session.known_user.user_id, frame.devices)
    session.send(Bundles(frame.request_id, bundles))
