"""Users wherever they are connected: at this node, or at another one that shares the system with it."""

from collections.abc import Sequence

from tidings.protocol.ids import UserId
from tidings.server.services import Services


async def online(services: Services, users: Sequence[UserId]) -> set[UserId]:
    """Which of these users receive just now, as far as the directory can be asked."""
    if services.cluster is not None:
        return await services.cluster.online(users)
    return {user for user in users if services.connections.is_online(user)}


def expel(services: Services, user: UserId) -> None:
    """End all sessions of a user."""
    router = services.connections if services.cluster is None else services.cluster.relay
    router.expel(user)
