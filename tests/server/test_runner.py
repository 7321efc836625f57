"""What a run settles before it begins; the rest is tried for real in netns/test_run.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.server import run_options, runner
from dnsfw.server.run_options import RunOptions
from dnsfw.server.run_policy import RunRules, run_policy


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host whose resolv.conf names no server."""
    monkeypatch.setattr(
        run_options.run_upstreams, "__defaults__", (tmp_path / "resolv.conf",)
    )


def whom(*upstreams: str, **rules: object) -> list[str]:
    wanted = RunRules(**rules)  # type: ignore[arg-type]
    options = RunOptions(("true",), wanted, upstreams=upstreams)
    return [str(found) for found in runner._whom_to_ask(options, run_policy(wanted))]


def test_where_no_name_can_be_allowed_no_upstream_is_needed() -> None:
    assert whom(default="deny") == []
    assert whom(allow=("10.0.0.0/8:443",)) == []


@pytest.mark.parametrize(
    "rules",
    [{"allow": ("example.com",)}, {"deny": ("example.com",)}, {"default": "deny", "audit": True}],
)
def test_where_names_matter_none_is_a_mistake(rules: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="no upstream"):
        whom(**rules)


def test_a_named_upstream_is_asked() -> None:
    assert whom("9.9.9.9", allow=("example.com",)) == ["9.9.9.9:53"]
