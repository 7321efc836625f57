"""The options of what comes over https, and what is wrong with them."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.syntax import json_schema
from dnsfw.policy.syntax_remote import remote_section

KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"


def wrong(options: str) -> str:
    listed = f"{{list: 'https://x.example/a', {options}}}"
    text = f"version: 1\ndefault: allow\nrules: [{{deny: {listed}}}]"
    with pytest.raises(PolicyError) as caught:
        compile_text(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("refresh: 1m", "'refresh' is 5m to 30d"),
        ("refresh: 31d", "5m to 30d"),
        ("refresh: soon", "is no duration"),
        ("sha256: abc", "write the 64 digits"),
        ("key: abc", "begins with RW"),
        ("limits: {size: 64}", "write 64MiB"),
        ("limits: {size: 1000MiB}", "1KiB to 512MiB"),
        ("limits: {time: 2h}", "1s to 1h"),
        ("limits: {refused: 101}", "'refused' is 0 to 100, not 101"),
        ("limits: {shrink: 0}", "'shrink' is at least 1, not 0"),
        ("limits: {sizes: 1MiB}", "did you mean 'size'?"),
        ("refersh: 1h", "did you mean 'refresh'?"),
    ],
)
def test_a_wrong_option_is_told_with_its_remedy(options: str, said: str) -> None:
    assert said in wrong(options)


def test_the_options_are_read() -> None:
    section = remote_section({
        "policy": "https://x.example/p.yaml", "refresh": "1h", "key": KEY, "sha256": "0" * 64,
        "ca": "ca.pem", "limits": {"size": "3MiB", "lines": 5, "time": "10s", "shrink": 8},
    })  # fmt: skip

    assert section is not None and section.limits is not None
    assert (section.refresh, section.key) == (3600, KEY)
    demands = section.limits.demands()
    assert (demands.size, demands.lines, demands.time, demands.shrink) == (3 << 20, 5, 10, 8)


def test_what_is_no_section_is_none() -> None:
    assert remote_section(None) is None
    assert remote_section({"refresh": "1h"}) is None


def test_the_schema_knows_the_options_of_a_list_and_of_a_policy() -> None:
    kinds = json_schema()["$defs"]

    assert {"refresh", "sha256", "key", "ca", "limits", "optional"} <= set(
        kinds["ListSection"]["properties"]
    )
    assert kinds["RemoteSection"]["required"] == ["policy"]
    assert kinds["RemoteSection"]["properties"]["refresh"]["type"] == "string"
    assert kinds["LimitsSection"]["properties"]["size"]["type"] == "string"
