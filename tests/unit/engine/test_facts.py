"""What an answer says about its question, and nothing else."""

from __future__ import annotations

import pytest

from dnsfw.engine.facts import Facts, read_facts
from dnsfw.errors import WireError
from dnsfw.model import SECOND, Nanos
from dnsfw.wire import message, reply
from dnsfw.wire.message import Record
from dnsfw.wire.name import from_text
from tests.support.play import rr

NOW = Nanos(1000 * SECOND)
WWW = from_text("www.x.net")
SIGNED = b"\0\1\x08\3\0\0\1\x2c" + bytes(8) + b"\0\1"  # covers A; then the signer's name


def facts(
    *answers: Record, authority: tuple[Record, ...] = (), qtype: int = 1, rcode: int = 0,
    do: bool = False,
) -> Facts:  # fmt: skip
    query = message.read_query(reply.write_query(1, WWW, qtype, do=do))
    wire = reply.write_reply(query, rcode, answers, authority, limit=65_535)
    return read_facts(message.read_response(wire), WWW, qtype, do, NOW)


def test_records_of_the_question_are_its_answer() -> None:
    found = facts(rr("www.x.net", "A", "192.0.2.1"), rr("www.x.net", "A", "192.0.2.2", 30))

    assert len(found.records) == 2 and found.ttl == 30 and not found.negative
    assert found.expires == NOW + 30 * SECOND


def test_a_record_that_comes_twice_counts_once() -> None:
    found = facts(*[rr("www.x.net", "A", "192.0.2.1")] * 3)

    assert len(found.records) == 1


def test_the_order_of_records_does_not_matter() -> None:
    links = [rr("www.x.net", "CNAME", "b.net"), rr("b.net", "CNAME", "c.net")]
    end = rr("c.net", "A", "192.0.2.1")

    forward, backward = facts(*links, end), facts(end, *reversed(links))

    assert forward == backward and forward.chain == (WWW, from_text("b.net"), from_text("c.net"))


def test_another_class_is_not_an_answer() -> None:
    chaos = Record(WWW, 1, 3, 60, bytes(4))

    assert facts(chaos).negative


def test_a_chain_that_ends_in_nothing_is_negative() -> None:
    found = facts(rr("www.x.net", "CNAME", "b.net"), rr("c.net", "A", "192.0.2.1"))

    assert found.negative and found.ttl == 0 and len(found.links) == 1


@pytest.mark.parametrize(
    "answers",
    [
        [rr("www.x.net", "CNAME", "www.x.net")],
        [rr("www.x.net", "CNAME", "b.net"), rr("b.net", "CNAME", "www.x.net")],
        [rr("www.x.net", "CNAME", "b.net"), rr("www.x.net", "CNAME", "c.net")],
    ],
)
def test_chains_of_no_honest_server_are_errors(answers: list[Record]) -> None:
    with pytest.raises(WireError):
        facts(*answers)


def test_a_name_with_address_and_cname_is_taken_at_its_address() -> None:
    found = facts(rr("www.x.net", "A", "192.0.2.1"), rr("www.x.net", "CNAME", "b.net"))

    assert found.chain == (WWW,)


def test_the_soa_of_a_negative_answer_says_how_long_it_may_be_kept() -> None:
    """RFC 2308, section 5: of a zone that holds the name."""
    for zone, ttl in (
        ("x.net", 30),
        ("net", 30),
        ("www.x.net", 30),
        ("evil.net", 0),
        ("xx.net", 0),
    ):
        found = facts(authority=(rr(zone, "SOA", ttl=30),), rcode=3)
        assert (found.ttl, bool(found.authority)) == (ttl, bool(ttl)), zone


def test_the_soa_may_belong_to_the_end_of_the_chain() -> None:
    link = rr("www.x.net", "CNAME", "b.org", 20)

    assert facts(link, authority=(rr("b.org", "SOA", ttl=30),)).ttl == 20


def test_authority_beside_an_answer_is_dropped_without_do() -> None:
    found = facts(rr("www.x.net", "A", "192.0.2.1"), authority=(rr("x.net", "SOA"),))

    assert found.authority == ()


def test_proofs_are_kept_for_do_only_and_only_of_the_zone() -> None:
    good = rr("www.x.net", "RRSIG", SIGNED + from_text("x.net") + b"s")
    other = rr("www.y.net", "RRSIG", SIGNED + from_text("y.net") + b"s")
    wrong_type = rr("www.x.net", "RRSIG", b"\0\x10" + SIGNED[2:] + from_text("x.net") + b"s")
    addr = rr("www.x.net", "A", "192.0.2.1")

    assert facts(addr, good).proofs == ()
    assert facts(addr, good, other, wrong_type, do=True).proofs == (good,)


def test_denials_of_existence_are_kept_for_do_only_and_only_of_the_zone() -> None:
    soa = rr("x.net", "SOA", ttl=30)
    nsec = Record(from_text("a.x.net"), 47, 1, 30, from_text("z.x.net") + b"\0\1\x40")
    sig = rr("a.x.net", "RRSIG", b"\0\x2f" + SIGNED[2:] + from_text("x.net") + b"s", 30)
    stray = Record(from_text("a.evil.org"), 47, 1, 30, from_text("z.evil.org") + b"\0\1\x40")

    plain = facts(authority=(soa, nsec, sig, stray), rcode=3)
    signed = facts(authority=(soa, nsec, sig, stray), rcode=3, do=True)

    assert plain.authority == (soa,)
    assert signed.authority == (soa, nsec, sig)


def test_a_dname_above_the_chain_is_kept_for_do() -> None:
    dname = rr("x.net", "DNAME", "y.org")
    link = rr("www.x.net", "CNAME", "www.y.org")
    end = rr("www.y.org", "A", "192.0.2.1")

    assert facts(dname, link, end, do=True).proofs == (dname,)
    assert facts(dname, link, end).proofs == ()


def test_a_signature_too_short_for_a_signer_is_no_proof() -> None:
    found = facts(authority=(rr("x.net", "RRSIG", b"\0\1"),), rcode=3, do=True)

    assert found.authority == ()


def test_cost_grows_with_content() -> None:
    small = facts(rr("www.x.net", "A", "192.0.2.1"))
    large = facts(*(rr("www.x.net", "A", f"192.0.2.{n}") for n in range(50)))

    assert large.cost > small.cost + 49 * 100
