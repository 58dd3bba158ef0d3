"""What figures must not exceed, beside the figures."""

from collections.abc import Mapping


def verdict(result: Mapping[str, object], musts: Mapping[str, float]) -> dict[str, object]:
    """The musts by the figure's name, and the names of those that are not kept."""
    return {
        "musts": dict(musts),
        "missed": [name for name, most in musts.items() if _figure(result[name]) > most],
    }


def _figure(value: object) -> float:
    assert isinstance(value, int | float)
    return value
