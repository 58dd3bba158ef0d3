"""What operators are given in `deploy/`: that it can be read, and speaks of what there is."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"


def haproxy(config: Path) -> subprocess.CompletedProcess[str]:
    """What HAProxy says of a config. Skips the test where there is none."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no haproxy")
    # Its bound of connections is beyond what a test may open.
    command = [program, "-c", "-f", str(config), "-n", "100"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_haproxy_takes_its_example() -> None:
    done = haproxy(DEPLOY / "haproxy.cfg")
    assert done.returncode == 0, done.stderr


def test_compose_starts_every_part_and_the_config_of_its_haproxy_is_taken(tmp_path: Path) -> None:
    compose = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    services = compose["services"]
    nodes = [f"node{number}" for number in (1, 2, 3)]
    assert set(services) == {*nodes, "cassandra1", "cassandra2", "cassandra3", "redis", "haproxy"}
    used = {volume.partition(":")[0] for one in services.values() for volume in one.get("volumes", [])}
    assert used == set(compose["volumes"])
    for one in services.values():
        assert set(one.get("depends_on", [])) <= set(services)
        assert {config["source"] for config in one.get("configs", [])} <= set(compose["configs"])
    node = compose["configs"]["node"]["content"]
    for host in re.findall(r'"(cassandra\d|redis)', node):
        assert host in services
    config = tmp_path / "haproxy.cfg"
    # Its names are those of containers.
    text = compose["configs"]["haproxy"]["content"]
    config.write_text(re.sub(r"(server node\d) node\d:", r"\1 127.0.0.1:", text))
    done = haproxy(config)
    assert done.returncode == 0, done.stderr


def test_the_dashboard_shows_each_thing_once() -> None:
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])
