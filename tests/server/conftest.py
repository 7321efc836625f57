from __future__ import annotations

import pytest

from tests.support.certs import Ca


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    """A CA of this run, and certificates of it."""
    return Ca(tmp_path_factory.mktemp("ca"))
