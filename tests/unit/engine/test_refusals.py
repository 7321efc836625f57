"""Refusals on the wire, in every way that `dns.refuse` knows."""

from __future__ import annotations

import pytest

from dnsfw.engine.refusals import any_answer, failure, instead, refusal, said
from dnsfw.model import Reason
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Refusal
from dnsfw.wire import message, reply
from dnsfw.wire.message import Ede, Rcode, Response
from dnsfw.wire.name import from_text

NAME = from_text("ads.net")
RULE = compile_text("version: 1\ndefault: allow\nrules: [deny: ads.net]\n").host.rules[0]


def heard(how: Refusal, qtype: int = 1, size: int = 1232) -> Response:
    query = message.read_query(reply.write_query(7, NAME, qtype, size=size))
    return message.read_response(refusal(NAME, qtype, how, Reason.BY_NAME, RULE).render(query))


@pytest.mark.parametrize(
    ("how", "rcode", "answers", "authority"),
    [
        ("nxdomain", Rcode.NXDOMAIN, 0, 1),
        ("nodata", Rcode.NOERROR, 0, 1),
        ("refused", Rcode.REFUSED, 0, 0),
        ("zero", Rcode.NOERROR, 1, 0),
    ],
)
def test_each_way_has_its_rcode_and_sections(
    how: Refusal, rcode: Rcode, answers: int, authority: int
) -> None:
    found = heard(how)

    assert (found.rcode, len(found.answers), len(found.authority)) == (rcode, answers, authority)
    assert found.edns is not None and found.edns.options[0][1][:2] == bytes((0, Ede.BLOCKED))


def test_zero_has_a_zero_for_each_family_and_none_for_other_types() -> None:
    assert heard("zero", 28).answers[0].rdata == bytes(16)
    assert heard("zero", 16).answers == () and heard("zero", 16).authority


def test_a_client_without_edns_gets_no_option() -> None:
    assert heard("nxdomain", size=0).edns is None


def test_the_reason_names_no_list() -> None:
    assert said(Reason.BY_NAME, RULE) == f"rule {RULE.id:08x}"
    assert "CNAME" in said(Reason.CHAIN_DENIED, RULE)
    assert said(Reason.NAME_DEFAULT, None) == "no rule allows this name"
    assert "ads" not in said(Reason.BY_NAME, RULE)


def test_any_is_one_small_record() -> None:
    query = message.read_query(reply.write_query(7, NAME, 255))
    found = message.read_response(any_answer(NAME).render(query))

    assert [r.rtype for r in found.answers] == [message.HINFO]


def test_a_servfail_instead_of_a_reply_keeps_id_question_and_bits() -> None:
    wire = reply.write_query(0x1234, NAME, 28, do=True, cd=True).replace(b"ads", b"aDs")
    query = message.read_query(wire)
    sent = failure(NAME, (0, "")).render(query)

    changed = instead(sent, (Ede.OTHER, "no"))

    found = message.read_response(changed)
    assert (found.id, found.rcode, found.qtype) == (0x1234, Rcode.SERVFAIL, 28)
    assert b"aDs" in changed and found.edns is not None and found.edns.do
    assert found.flags & message.CD and found.flags & message.RD
