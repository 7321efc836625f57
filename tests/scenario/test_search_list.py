"""Stubs go on with their search list after NXDOMAIN alone, whatever `dns.refuse` says."""

from __future__ import annotations

import pytest

from dnsfw.engine.effects import Ask, Reply
from tests.scenario.conftest import Begin

POLICY = """
version: 1
default: deny
rules:
  - allow: x.com
dns: {refuse: %s, upstreams: [192.0.2.53]}
"""


@pytest.mark.parametrize("refuse", ["nxdomain", "refused", "nodata", "zero"])
@pytest.mark.parametrize("rtype", ["A", "AAAA"])
def test_an_expansion_of_an_allowed_name_does_not_exist(
    stage: Begin, refuse: str, rtype: str
) -> None:
    play = stage(POLICY % refuse)

    scene = play.query("x.com.corp.example", rtype).expects(Reply)

    assert (scene.reply.rcode, scene.reply.addresses) == ("NXDOMAIN", [])
    play.query("x.com", rtype).expects(Ask)


def test_any_other_name_is_refused_as_the_policy_says(stage: Begin) -> None:
    play = stage(POLICY % "refused")

    assert play.query("y.com.corp.example").expects(Reply).reply.rcode == "REFUSED"
