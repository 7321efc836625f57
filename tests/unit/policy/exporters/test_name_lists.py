"""Lists made of a role: what each format can say, and how it says it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from dnsfw.policy.compile import compile_text
from dnsfw.policy.exporters import FORMATS, Exported, export
from dnsfw.policy.exporters.name_lists import ipv4_or_6, literal
from dnsfw.policy.pattern import parse_pattern
from dnsfw.policy.prefix import Prefix
from dnsfw.wire.name import from_text
from tests.unit.policy.exporters.test_outcome import made


def lines(done: Exported) -> list[str]:
    return [line for line in done.text.splitlines() if line[:1] not in "#!;$@ "]


def allow(form: str, *destinations: str) -> Exported:
    rules = "".join(f'  - allow: "{one}"\n' for one in destinations)
    policy = compile_text(f"version: 1\ndefault: deny\nrules:\n{rules}", "p.yaml")
    return export(FORMATS[form], policy.host)


@pytest.mark.parametrize(
    ("form", "rule", "written"),
    [
        ("plain", "x.example", ["x.example"]),
        ("hosts", "x.example", ["0.0.0.0 x.example"]),
        ("wildcard", "x.example", ["x.example"]),
        ("wildcard", "*.x.example", ["*.x.example"]),
        ("wildcard", ".x.example", ["x.example", "*.x.example"]),
        ("adblock", ".x.example", ["||x.example^"]),
        ("adblock", "*.x.example", ["||*.x.example^"]),
        ("adblock", "x.example", ["x.example"]),
        ("rpz", ".x.example", ["x.example CNAME .", "*.x.example CNAME ."]),
        ("rpz", "192.0.2.0/24", ["24.0.2.0.192.rpz-ip CNAME ."]),
        ("rpz", "[2001:db8::1]", ["128.1.zz.db8.2001.rpz-ip CNAME ."]),
        ("rpz", "[2001:db8::]/32", ["32.zz.db8.2001.rpz-ip CNAME ."]),
        ("dnsmasq", ".x.example", ["address=/x.example/"]),
        ("cidr", "192.0.2.1", ["192.0.2.1"]),
        ("cidr", "[2001:db8::]/32", ["2001:db8::/32"]),
    ],
)
def test_a_denied_destination_is_written_as_the_format_does(
    form: str, rule: str, written: list[str]
) -> None:
    done = made(form, f'  - deny: "{rule}"\n')

    assert done.lost == () and lines(done) == written


@pytest.mark.parametrize(
    ("form", "rule"),
    [
        ("plain", "*.x.example"), ("hosts", ".x.example"), ("hosts", "192.0.2.1"),
        ("wildcard", "+.x.example"), ("wildcard", "a-*.x.example"), ("wildcard", "192.0.2.1"),
        ("adblock", "+.x.example"), ("adblock", "192.0.2.1"), ("rpz", "a-*.x.example"),
        ("dnsmasq", "x.example"), ("dnsmasq", "*.x.example"), ("cidr", "x.example"),
        ("plain", "x.example:443"), ("cidr", "192.0.2.1/tcp"), ("rpz", "x.example/udp"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_say_is_lost_and_not_bent(form: str, rule: str) -> None:
    done = made(form, f'  - deny: "{rule}"\n')

    assert [found.source for found in done.lost] == [f"deny {rule}"]
    assert lines(done) == []


def test_under_default_deny_a_list_has_what_is_allowed() -> None:
    assert lines(allow("plain", "x.example")) == ["x.example"]
    assert lines(allow("dnsmasq", ".x.example")) == [
        "nftset=/x.example/4#inet#dnsfw#open4,6#inet#dnsfw#open6"
    ]


@pytest.mark.parametrize("form", ["hosts", "adblock", "rpz"])
def test_a_list_that_only_denies_cannot_close_the_rest(form: str) -> None:
    assert "default: deny" in [found.source for found in allow(form, "x.example").lost]


def test_of_filters_the_deeper_denial_is_important_and_a_third_turn_is_lost() -> None:
    rules = "  - deny: .x.example\n  - allow: .a.x.example\n  - deny: .b.a.x.example\n"

    two, three = made("adblock", rules), made("adblock", rules + "  - allow: .c.b.a.x.example\n")

    assert two.lost == ()
    assert two.text.splitlines()[1:] == [
        "||b.a.x.example^$important", "@@||a.x.example^", "||x.example^",
    ]  # fmt: skip
    assert [found.source for found in three.lost] == ["allow .c.b.a.x.example"]


def test_in_a_zone_the_rule_of_a_name_beats_the_tree_around_it() -> None:
    done = made("rpz", "  - deny: .x.example\n  - allow: x.example\n")

    assert lines(done) == ["x.example CNAME rpz-passthru.", "*.x.example CNAME ."]


def in_zone(owners: dict[str, str], name: str) -> str | None:
    """A look-up as RFC 4592 has it: the name, else the wildcard at the closest encloser."""
    if name in owners:
        return owners[name]
    held = {one.removeprefix("*.").split(".", n)[-1] for one in owners for n in range(6)}
    if name in held:
        return None  # it exists, and has nothing of its own
    while name:
        name = name.partition(".")[2]
        if name in held:
            return owners.get(f"*.{name}")
    return None


@pytest.mark.parametrize(
    "rules",
    [
        [("deny", "*.x.example"), ("allow", "a.x.example")],
        [("deny", ".x.example"), ("deny", "c.b.a.x.example")],
        [("deny", ".x.example"), ("allow", "*.b.a.x.example"), ("deny", "d.c.b.a.x.example")],
        [("deny", "b.a.x.example")],
    ],
)
def test_a_zone_says_the_same_to_a_server_whose_wildcards_end_at_names(
    rules: list[tuple[str, str]],
) -> None:
    text = "".join(f'  - {verb}: "{what}"\n' for verb, what in rules)
    role = compile_text(f"version: 1\ndefault: allow\nrules:\n{text}").host
    owners = dict(line.split(" CNAME ") for line in lines(made("rpz", text)))

    for name in ("x", "a.x", "z.x", "b.a.x", "z.a.x", "c.b.a.x", "d.c.b.a.x", "z.c.b.a.x",
                 "z.z.x", "e.d.c.b.a.x"):  # fmt: skip
        said = in_zone(owners, f"{name}.example")
        assert (said != ".") is role.judge(from_text(f"{name}.example")).answered, name


def test_literal_parts_and_bare_addresses() -> None:
    assert literal(parse_pattern("+.x.example")) == "x.example"
    assert literal(parse_pattern("a-*.x.example")) == "a-*.x.example"
    assert ipv4_or_6(Prefix.of(ip_network("::1/128"))) == "::1"
