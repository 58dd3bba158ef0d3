"""What a device may ask about people, and set for itself. See `commands.py` for the manner.

spec §6.11 to §6.13
"""

from tidings.protocol.frames import Lookup, Ok, People, Profiles, Report, Set
from tidings.server.session import Session


async def set_setting(session: Session, frame: Set) -> None:
    """Change a setting; the other devices of the user are told."""
    services, asked_ms = session.services, None
    if services.cluster is not None:
        asked_ms = services.ids.now_ms()
        await services.cluster.places.confirm(session)
    await services.settings.set(
        session.known_user.user_id,
        frame.kind,
        frame.key,
        frame.value,
        device=session.device_id,
        asked_ms=asked_ms,
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
