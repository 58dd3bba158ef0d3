"""What tests of a whole system share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def reports(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where what is found is written."""
    return Path(os.environ.get("TIDINGS_REPORTS", tmp_path)) / request.node.name
