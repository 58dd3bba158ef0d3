"""The operator's desk in a worker: no port, the supervisor passes on what it is asked."""

from collections.abc import Callable

from tidings.server.admin.app import Node, unguarded
from tidings.server.tuning import Tuning
from tidings.server.workers import asgi
from tidings.server.workers.orders import Answer, Ask, Tune
from tidings.server.workers.parent import Duties


def duties_of(node: Node, renew: Callable[[], None]) -> Duties:
    """How a node obeys its supervisor."""
    app = unguarded(node)
    tuning = Tuning(node.services.limits, node.services.connections)

    async def answer(ask: Ask) -> Answer:
        return await asgi.answer(app, ask)

    def tune(order: Tune) -> None:
        tuning.set(order.name, order.value)

    return Duties(answer, node.metrics.render, tune, renew)
