"""What a server counts, asked for at its admin port."""

import asyncio
import json
import urllib.request
from collections.abc import Collection
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tidings.server.admin.port import FILE

TIMEOUT_S = 30.0


async def scraped(data: Path, prefix: str, names: Collection[str]) -> dict[str, dict[str, float]]:
    """Counters whose names begin so, by the rest of the name and their label; "" where there is none."""
    text = await asyncio.to_thread(_metrics, data)
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        short = family.name.removeprefix(prefix)
        if family.name.startswith(prefix) and short in names:
            found[short] = {
                next(iter(sample.labels.values()), ""): sample.value
                for sample in family.samples
                if sample.name.endswith("_total")
            }
    return found


def _metrics(data: Path) -> str:
    url = json.loads((data / FILE).read_text())["url"]
    with urllib.request.urlopen(f"{url}/metrics", timeout=TIMEOUT_S) as answer:  # noqa: S310 - of loopback
        return str(answer.read().decode())
