"""Users, reports and upstreams of a run: mistakes are found before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.server.run_options import account_of, report_format, run_upstreams


def test_a_user_has_its_own_groups_and_a_named_group_is_the_only_one() -> None:
    root = account_of("root")

    assert (root.uid, root.gid) == (0, 0)
    assert root.gid in root.groups
    assert account_of("0").uid == 0
    assert account_of("root:12345").groups == (12345,)
    assert account_of("4000000:4000001") == account_of("4000000:4000001")
    assert account_of("4000000:4000001").gid == 4000001


@pytest.mark.parametrize("text", ["no-such-user", "4000000", "root:no-such-group"])
def test_an_unknown_user_or_group_is_a_mistake(text: str) -> None:
    with pytest.raises(ConfigError, match="--user"):
        account_of(text)


def test_a_report_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    assert report_format(str(tmp_path / "a.json")) == "json"
    assert report_format(str(tmp_path / "a.YML")) == "yaml"
    with pytest.raises(ConfigError, match=r"\.json or \.yaml"):
        report_format(str(tmp_path / "a.txt"))


def test_system_is_what_resolv_conf_names_a_stub_too(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.53\nnameserver 192.0.2.1\n")

    assert [str(e) for e in run_upstreams(("system",), conf)] == ["127.0.0.53:53", "192.0.2.1:53"]
    assert [str(e) for e in run_upstreams(("9.9.9.9",), conf)] == ["9.9.9.9:53"]


def test_nobody_to_ask_is_said_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no upstream.*--upstream 9\.9\.9\.9"):
        run_upstreams(("system",), tmp_path / "none")


def test_the_account_of_whoever_runs_this_is_found_by_number() -> None:
    assert account_of(str(os.getuid())).uid == os.getuid()
