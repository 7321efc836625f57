"""What of an answer may pass and what it may open; the whole way is in scenario/."""

from __future__ import annotations

from dnsfw.engine.facts import Facts, read_facts
from dnsfw.engine.filter import Blocked, Ruling, Site, pieces_for, rule_on, usable_records
from dnsfw.model import DEFAULT_RULE, SECOND, Nanos, PortRange, PortSet, Reason, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.temporary import Temporary, on_top
from dnsfw.wire import message, reply
from dnsfw.wire.message import Record
from dnsfw.wire.name import from_text
from tests.support.play import rr, svcb

NOW = Nanos(1000 * SECOND)
WWW = from_text("www.x.net")
A1 = addr_from("192.0.2.1")


def role(*rules: str, default: str = "deny") -> RolePolicy:
    listed = "".join(f"  - {rule}\n" for rule in rules)
    return compile_text(f"version: 1\ndefault: {default}\nrules:\n{listed}").host


def facts(*answers: Record, qtype: int = 1) -> Facts:
    query = message.read_query(reply.write_query(1, WWW, qtype))
    wire = reply.write_reply(query, 0, answers, limit=65_535)
    return read_facts(message.read_response(wire), WWW, qtype, False, NOW)


def ruled(policy: RolePolicy, *answers: Record, qtype: int = 1, site: Site | None = None) -> Ruling:
    ruling = rule_on(facts(*answers, qtype=qtype), policy, site or Site())
    assert isinstance(ruling, Ruling)
    return ruling


def test_the_name_wishes_to_hold_its_addresses_with_its_rules_ports_and_times() -> None:
    policy = role("{allow: 'www.x.net:443/tcp', ttl: {min: 5s, max: 100s, grace: 7s}}")

    ruling = ruled(policy, rr("www.x.net", "A", "192.0.2.1", 60))

    (wish,) = ruling.wishes
    ((piece, until),) = wish.claims
    assert (wish.name, wish.addrs, ruling.ttl) == (WWW, (A1,), 60)
    assert piece.ports == PortSet.of([PortRange(6, 443, 443)])
    assert until == NOW + 67 * SECOND


def test_two_rules_for_two_ports_are_two_claims_with_times_of_their_own() -> None:
    policy = role(
        "{allow: 'www.x.net:443', ttl: {min: 5s, max: 50s, grace: 2s}}",
        "{allow: 'www.x.net:22', ttl: {min: 90s, max: 100s, grace: 60s}}",
    )

    ruling = ruled(policy, rr("www.x.net", "A", "192.0.2.1", 60))

    assert ruling.ttl == 50  # the answer obeys the strictest `max` among its rules
    untils = sorted((until - NOW) // SECOND for _, until in ruling.wishes[0].claims)
    assert untils == [52, 150]


def test_an_address_that_is_open_for_a_time_is_told_for_no_longer() -> None:
    """Promise 2: the rule ends in the kernel by itself, and nothing renews it."""
    written = compile_text("version: 1\ndefault: deny\nrules: [allow: www.x.net]\n")
    until = Nanos(NOW + 20 * SECOND)
    policy, refused = on_top(written, [Temporary("allow", "10.0.0.5", "host", until)])
    assert not refused

    told = ruled(policy.host, rr("www.x.net", "A", "10.0.0.5", 300))
    hinted = ruled(policy.host, svcb("www.x.net", ".", ["10.0.0.5"]), qtype=65)

    assert told.passing == {addr_from("10.0.0.5")}
    assert (told.ttl, hinted.ttl) == (20, 20)


def test_under_default_allow_a_closed_port_is_a_claim_too() -> None:
    policy = role("deny: www.x.net:25", default="allow")

    (wish,) = ruled(policy, rr("www.x.net", "A", "192.0.2.1")).wishes

    verdicts = {piece.verdict: piece for piece, _ in wish.claims}
    assert verdicts[Verdict.DENY].ports.covers(6, 25)
    assert verdicts[Verdict.ALLOW].rule == DEFAULT_RULE
    assert not verdicts[Verdict.ALLOW].ports.covers(6, 25)


def test_under_default_deny_a_closed_port_claims_nothing() -> None:
    policy = role("allow: .x.net", "deny: www.x.net:25")

    (wish,) = ruled(policy, rr("www.x.net", "A", "192.0.2.1")).wishes

    assert {piece.verdict for piece, _ in wish.claims} == {Verdict.ALLOW}


def test_a_link_that_a_rule_denies_blocks_the_answer_and_one_that_no_rule_names_does_not() -> None:
    chain = [rr("www.x.net", "CNAME", "t.net"), rr("t.net", "A", "192.0.2.1")]

    blocked = rule_on(facts(*chain), role("allow: www.x.net", "deny: t.net"), Site())

    assert isinstance(blocked, Blocked)
    assert (blocked.name, blocked.reason) == (from_text("t.net"), Reason.CHAIN_DENIED)
    assert ruled(role("allow: www.x.net"), *chain).wishes
    assert isinstance(rule_on(facts(*chain), role("deny: t.net", default="allow"), Site()), Blocked)


def test_a_port_that_a_link_closes_is_closed_on_the_address() -> None:
    chain = [rr("www.x.net", "CNAME", "t.net"), rr("t.net", "A", "192.0.2.1")]

    (wish,) = ruled(role("deny: t.net:25", default="allow"), *chain).wishes

    closed = [p.ports for p, _ in wish.claims if p.verdict is Verdict.DENY]
    assert closed and closed[0].covers(6, 25) and not closed[0].covers(6, 443)


def test_private_addresses_are_held_by_rules_that_say_private_and_no_other() -> None:
    policy = role("{allow: 'www.x.net:443', private: true}", "allow: www.x.net:80")

    ruling = ruled(policy, rr("www.x.net", "A", "10.0.0.1"), rr("www.x.net", "A", "192.0.2.1"))

    by_addr = {wish.addrs[0]: wish for wish in ruling.wishes}
    private = [p.ports for p, _ in by_addr[addr_from("10.0.0.1")].claims]
    assert len(private) == 1 and private[0].covers(6, 443)
    assert len(by_addr[A1].claims) == 2


def test_what_an_address_rule_opens_passes_without_a_wish() -> None:
    policy = role("allow: www.x.net:443", "allow: 10.0.0.0/8:5432")

    ruling = ruled(policy, rr("www.x.net", "A", "10.0.0.1"))

    assert ruling.wishes == [] and ruling.passing == {addr_from("10.0.0.1")}


def test_addresses_beyond_the_cap_are_cut() -> None:
    many = [rr("www.x.net", "A", f"192.0.2.{n}") for n in range(20)]

    ruling = ruled(role("allow: www.x.net"), *many, site=Site(most=5))

    assert len(ruling.records) == 5 and ruling.cut == 15


def test_only_usable_addresses_are_written_and_the_rest_leaves_a_trace() -> None:
    policy = role("allow: www.x.net")
    pair = [rr("www.x.net", "A", "192.0.2.1", 60), rr("www.x.net", "A", "192.0.2.2", 60)]
    known = facts(*pair)
    ruling = rule_on(known, policy, Site())
    assert isinstance(ruling, Ruling)

    answers, _, whole = usable_records(known, ruling, {A1})
    everything, _, all_of_it = usable_records(known, ruling, {A1, addr_from("192.0.2.2")})

    assert [r.rdata for r in answers] == [b"\xc0\0\2\1"] and not whole
    assert len(everything) == 2 and all_of_it


def test_the_links_go_with_the_addresses() -> None:
    policy = role("allow: www.x.net")
    known = facts(rr("www.x.net", "CNAME", "t.net"), rr("t.net", "A", "192.0.2.1"))
    ruling = rule_on(known, policy, Site())
    assert isinstance(ruling, Ruling)

    assert usable_records(known, ruling, set())[0] == []


def test_hints_that_cannot_be_used_are_taken_out_of_the_record() -> None:
    policy = role("allow: www.x.net")
    known = facts(svcb("www.x.net", ".", ["192.0.2.1", "192.0.2.2"]), qtype=65)
    ruling = rule_on(known, policy, Site())
    assert isinstance(ruling, Ruling)

    (record,) = usable_records(known, ruling, {A1})[0]

    assert b"\xc0\0\2\1" in record.rdata and b"\xc0\0\2\2" not in record.rdata


def test_names_judged_again_have_the_pieces_of_the_policy_of_now() -> None:
    chain = (from_text("t.net"),)

    assert pieces_for(WWW, (), role("allow: other.net"), leave=False) == ()
    assert pieces_for(WWW, chain, role("allow: www.x.net", "deny: t.net"), leave=False) == ()
    (kept,) = pieces_for(WWW, chain, role("allow: www.x.net"), leave=False)
    assert kept.verdict is Verdict.ALLOW
    denied = pieces_for(WWW, (), role("deny: www.x.net", default="allow"), leave=False)
    assert any(p.verdict is Verdict.DENY and p.ports.covers(6, 443) for p in denied)
    assert pieces_for(WWW, (), role("allow: www.x.net"), leave=True) == ()
    assert pieces_for(WWW, (), role("{allow: www.x.net, private: true}"), leave=True)


def test_shared_deny_is_a_closing_that_does_not_yield() -> None:
    policy = role("{deny: www.x.net, shared: deny}", default="allow")

    closing = [p for p in pieces_for(WWW, (), policy, leave=False) if p.verdict is Verdict.DENY]

    assert closing and not any(piece.yields for piece in closing)
