from __future__ import annotations

import pytest

from tests.support import running
from tests.support.certs import Ca


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    """A CA of this run, and certificates of it."""
    return Ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture(params=["on", "off"])
def answers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names it is run with a kernel that answers by itself, and with one that does not."""
    monkeypatch.setattr(running, "KERNEL_ANSWERS", request.param == "on")
