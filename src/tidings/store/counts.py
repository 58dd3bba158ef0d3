"""What a store that is reached over the network counts of its requests, for the metrics."""


class RequestCounts:
    """Of one store, since its start."""

    __slots__ = ("failures", "requests", "seconds", "waiting")

    def __init__(self) -> None:
        self.requests = 0
        """that were answered, or failed"""
        self.failures = 0
        self.seconds = 0.0
        """that these took, from the moment at which each was wanted"""
        self.waiting = 0
        """that wait for their turn, since too many are on their way"""
