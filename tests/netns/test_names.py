"""Real clients ask dnsfw, dnsfw asks a real recursor: what a name opens, and what not."""

from __future__ import annotations

import pytest

from tests.support.internet import THOUSANDS, many_addresses
from tests.support.netlab import Capture, wait_until
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
    pytest.mark.needs_peers,
]

EXAMPLE = policy_of([{"allow": "*.example.com:80,443"}])


@pytest.fixture
def world(shared_world: World) -> World:
    """Every row holds with the kernel's answers and without."""
    return shared_world


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_name_allowed_by_a_wildcard_is_reached_by_curl(world: World, family: str) -> None:
    world.guard(EXAMPLE)

    assert world.fetches("http://www.example.com/", family)
    assert world.fetches("http://a.b.wild.example.com:443/", family)


def test_every_kind_of_client_resolves_an_allowed_name(world: World) -> None:
    world.guard(EXAMPLE)

    def getent(kind: str) -> str:
        return world.again(lambda: world.run("getent", kind, "www.example.com").stdout)

    assert "203.0.113.11" in getent("ahostsv4")
    assert "2001:db8::11" in getent("ahostsv6")
    assert world.addresses("www.example.com") == ["203.0.113.11"]
    assert "203.0.113.11" in world.dig("+tcp", "+short", "www.example.com", "A")
    by_python = "import socket; print(socket.gethostbyname('www.example.com'))"
    assert "203.0.113.11" in world.again(lambda: world.python(by_python))


def test_an_allowed_cname_chain_over_two_zones_is_opened(world: World) -> None:
    world.guard(EXAMPLE)

    assert world.fetches("http://chain.example.com/")


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_refused_by_name_is_nxdomain_with_blocked_and_a_soa(world: World, family: str) -> None:
    world.guard(EXAMPLE)

    got = world.curl("http://hit.tracker.example/", family)
    seen = world.dig("hit.tracker.example")

    assert "Could not resolve host" in got.stderr
    assert "status: NXDOMAIN" in seen
    assert "EDE: 15" in seen
    assert "SOA" in seen


def test_row_62_a_refused_name_sends_no_byte_upstream(world: World) -> None:
    world.guard(EXAMPLE)

    world.dig("secret-data.evil.example")
    world.dig("www.example.com")

    assert world.internet.asked("www.example.com")
    assert "evil" not in world.internet.unbound_log.read_text()


@pytest.mark.parametrize(
    ("name", "kind", "address"),
    [
        ("private.example.com", "A", "10.1.2.3"),
        ("private.example.com", "AAAA", "fd12:3456::1"),
        ("metadata.example.com", "A", "169.254.169.254"),
        ("loopback.example.com", "A", "127.0.0.1"),
        ("loopback.example.com", "AAAA", "::1"),
        ("mapped.example.com", "AAAA", "::ffff:10.0.0.1"),
        ("nat64.example.com", "AAAA", "64:ff9b::a00:1"),
        ("zeroes.example.com", "A", "0.0.0.0"),
    ],
)
def test_row_73_a_rebinding_answer_is_removed(
    world: World, name: str, kind: str, address: str
) -> None:
    world.guard(EXAMPLE)

    seen = world.dig(name, kind)

    assert world.addresses("www.example.com") == ["203.0.113.11"]
    assert address not in seen.split("ANSWER SECTION")[-1]
    assert "EDE: 17" in seen


def test_row_73_private_addresses_pass_where_the_rule_says_private(world: World) -> None:
    world.guard(policy_of([{"allow": "private.example.com:80", "private": True}]))

    assert world.fetches("http://private.example.com/")
    assert world.connect("10.1.2.3", 443) == "EPERM"


def test_row_122_of_what_a_dns64_makes_the_address_inside_is_judged(world: World) -> None:
    rules = [{"allow": "*.example.com:80"}]
    world.guard(policy_of(rules, dns={"nat64_prefix": "2001:db8:64::/96"}))

    private = world.dig("dns64-private.example.com", "AAAA")
    well_known = world.dig("nat64.example.com", "AAAA")

    assert "EDE: 17" in private and "ANSWER: 0" in private
    assert "EDE: 17" in well_known and "ANSWER: 0" in well_known
    assert world.addresses("dns64.example.com", "AAAA") == ["2001:db8:64::cb00:710b"]
    assert world.connect("2001:db8:64::cb00:710b") == "OK"
    assert world.connect("2001:db8:64::a01:203") == "EPERM"


def test_row_123_signatures_pass_to_who_wants_them_and_what_we_make_up_is_never_authentic(
    world: World,
) -> None:
    world.guard(policy_of([{"allow": ".signed.example:80"}]))

    plain = world.dig("www.signed.example")
    signed = world.dig("+dnssec", "www.signed.example")
    unchecked = world.dig("+dnssec", "+cdflag", "www.signed.example")
    refused = world.dig("+dnssec", "+adflag", "www.evil.example")

    assert "RRSIG" not in plain
    assert "RRSIG" in signed and "flags: do" in signed
    assert "RRSIG" in unchecked and " cd" in unchecked.split("flags:")[1].split(";")[0]
    assert "NXDOMAIN" in refused
    for said in (plain, signed, unchecked, refused):
        assert " ad" not in said.split("flags:")[1].split(";")[0]
    assert world.connect("203.0.113.12") == "OK"


def test_of_a_mixed_answer_only_the_public_address_is_left(world: World) -> None:
    world.guard(EXAMPLE)

    assert world.addresses("mixed.example.com") == ["203.0.113.40"]
    assert world.connect("10.1.2.3") == "EPERM"


def test_row_69_an_allowed_name_that_leads_to_a_denied_one_is_refused(world: World) -> None:
    world.guard(policy_of([{"allow": "*.example.com:80"}, {"deny": ".tracker.example"}]))

    assert world.fetches("http://alias.example.com/")
    assert not world.fetches("http://cloaked.example.com/")
    assert world.connect("203.0.113.71") == "EPERM"


def test_row_70_a_denied_name_that_leads_to_an_allowed_one_is_refused(world: World) -> None:
    world.guard(EXAMPLE)

    assert "NXDOMAIN" in world.dig("to-good.tracker.example")
    assert not world.internet.asked("to-good.tracker.example")
    assert world.fetches("http://www.example.com/")


def test_row_71_a_cname_loop_or_a_dangling_chain_opens_nothing(world: World) -> None:
    world.guard(EXAMPLE)

    assert "status: SERVFAIL" in world.dig("loop.example.com", kernel=False)
    assert "203.0.113" not in world.dig("dangling.example.com")
    assert world.fetches("http://chain.example.com/")


def test_row_85_svcb_hints_are_held_to_the_same_checks(world: World) -> None:
    world.guard(EXAMPLE)

    public = world.dig("svc.example.com", "HTTPS")
    private = world.dig("svc-private.example.com", "HTTPS")

    assert "alpn" in public
    assert "10.1.2.3" not in private
    assert world.connect("10.1.2.3", 443) == "EPERM"
    if "203.0.113.50" in public:  # told, so open
        assert world.connect("203.0.113.50", 443) == "OK"


def test_row_86_targets_of_srv_and_mx_open_nothing(world: World) -> None:
    world.guard(EXAMPLE)

    world.dig("_ldap._tcp.example.com", "SRV")
    world.dig("mail.example.com", "MX")

    assert world.connect("203.0.113.16") == "EPERM"


def test_row_93_an_answer_of_forty_addresses_comes_whole_over_tcp_and_all_are_open(
    world: World,
) -> None:
    world.guard(EXAMPLE)

    small = world.dig("+bufsize=512", "+ignore", "many.example.com", "A")
    got = set(world.dig("+bufsize=512", "+short", "many.example.com", "A").split())

    assert "tc" in small.split("flags:")[1].split(";")[0]
    assert got == set(many_addresses())
    assert {world.connect(address) for address in sorted(got)[::8]} == {"OK"}


def test_row_110_of_thousands_of_addresses_every_one_that_is_told_is_open(world: World) -> None:
    world.guard(EXAMPLE)

    told = world.dig("+tcp", "+short", "thousands.example.com", "A").split()

    assert 0 < len(told) < THOUSANDS, "a name has a cap, and the answer is trimmed to it"
    assert {world.connect(address) for address in (*told[:3], *told[-3:])} == {"OK"}
    assert world.fetches("http://www.example.com/")


def test_row_27_a_port_limited_rule_opens_its_ports_only(world: World) -> None:
    world.guard(policy_of([{"allow": "www.example.com:443"}]))

    with Capture(world.internet.netns, "eth0") as capture:
        opened = world.fetches("http://www.example.com:443/", "-4")
        refused = world.connect("203.0.113.11", 80), world.connect("2001:db8::11", 80)
        ports = {int.from_bytes(frame[36:38], "big") for frame in capture.to("203.0.113.11")}

    assert opened
    assert refused == ("EPERM", "EPERM")
    assert ports == {443}


def test_row_28_quic_is_refused_where_only_tcp_is_allowed(world: World) -> None:
    world.guard(policy_of([{"allow": "www.example.com:443/tcp"}]))

    assert world.fetches("http://www.example.com:443/")
    assert world.connect("203.0.113.11", 443, "SOCK_DGRAM") == "EPERM"


def test_row_87_a_rule_never_matches_below_a_search_domain(world: World) -> None:
    world.guard(policy_of([{"allow": "www.example.com:80"}]))

    assert world.addresses("www.example.com") == ["203.0.113.11"]
    assert "NXDOMAIN" in world.dig("www.example.com.tracker.example")
    assert not world.internet.asked("www.example.com.tracker.example")


def test_row_89_a_dot_inside_a_label_matches_no_rule(world: World) -> None:
    world.guard(EXAMPLE)

    seen = world.dig(r"www\.example.com")

    assert "NXDOMAIN" in seen
    assert "www" not in world.internet.unbound_log.read_text()
    assert world.fetches("http://www.example.com/")


def test_row_90_case_and_a_trailing_dot_do_not_matter(world: World) -> None:
    world.guard(policy_of([{"allow": "WWW.example.com."}]))

    assert world.fetches("http://wWw.ExAmPlE.CoM./")


def test_row_91_the_apex_is_not_below_its_wildcard(world: World) -> None:
    world.guard(EXAMPLE)

    assert "NXDOMAIN" in world.dig("example.com")
    assert world.addresses("www.example.com") == ["203.0.113.11"]


def test_row_121_without_a_v6_address_the_answer_is_nodata(world: World) -> None:
    world.guard(EXAMPLE)

    seen = world.dig("only4.example.com", "AAAA")

    assert "status: NOERROR" in seen
    assert world.fetches("http://only4.example.com/")


def test_two_names_with_different_rules_share_one_address(world: World) -> None:
    world.guard(
        policy_of(
            [
                {"allow": "shared-a.example.com:80", "ttl": {"min": "1s", "grace": "2s"}},
                {"allow": "shared-b.example.com:443"},
            ]
        )
    )

    assert world.fetches("http://shared-a.example.com/")
    assert world.connect("203.0.113.60", 443) == "EPERM"
    assert world.fetches("http://shared-b.example.com:443/")
    assert world.connect("203.0.113.60", 80) == "OK"
    assert world.connect("203.0.113.60", 8080) == "EPERM"
    assert world.connect("2001:db8::60", 8080) == "EPERM"


def test_of_two_names_on_one_address_each_keeps_its_own_deadline(world: World) -> None:
    world.guard(
        policy_of(
            [
                {
                    "allow": "shared-a.example.com:80",
                    "ttl": {"min": "1s", "max": "2s", "grace": "6s"},
                },
                {"allow": "shared-b.example.com:443"},
            ]
        )
    )
    both = {"A": "203.0.113.60", "AAAA": "2001:db8::60"}
    for kind, address in both.items():  # each is tried at once: the machine may be slow
        world.addresses("shared-b.example.com", kind)
        world.addresses("shared-a.example.com", kind)
        assert [world.connect(address, port) for port in (80, 443)] == ["OK"] * 2

    for address in both.values():
        wait_until(lambda at=address: world.connect(at, 80) == "EPERM", 30)
    assert [world.connect(address, 443) for address in both.values()] == ["OK"] * 2


def test_row_99_nobody_learns_the_version(world: World) -> None:
    world.guard(EXAMPLE)

    assert "REFUSED" in world.dig("version.bind", "TXT", "CH")


def test_row_100_transfers_are_refused(world: World) -> None:
    world.guard(EXAMPLE)

    any_kind = world.dig("www.example.com", "ANY")
    assert "HINFO" in any_kind, "RFC 8482"
    assert "203.0.113" not in any_kind
    assert "REFUSED" in world.dig("www.example.com", "TYPE253")  # MAILB
    assert "Transfer failed" in world.dig("www.example.com", "AXFR")
    assert world.addresses("www.example.com") == ["203.0.113.11"]
