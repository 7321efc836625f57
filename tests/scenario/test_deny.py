"""A denied name: refused here, and not one byte goes anywhere (promise 7)."""

from __future__ import annotations

import pytest

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from dnsfw.model import NO_ROLE, Reason
from tests.scenario.conftest import ALLOW_EXAMPLE, Begin
from tests.support.play import Play


def test_row_62_a_denied_name_goes_nowhere(play: Play) -> None:
    play.query("c2VjcmV0.evil.test.net", "TXT").expects(Reply)
    play.query("evil.net").expects(Reply)
    play.after(seconds=60).nothing()

    assert play.sent == []


def test_a_refusal_is_nxdomain_with_ede_15_and_an_soa_to_cache_it_by(play: Play) -> None:
    heard = play.query("evil.net").expects(Reply).reply

    assert (heard.rcode, heard.ede, heard.soa_ttl) == ("NXDOMAIN", 15, 10)
    assert not heard.message.ad


@pytest.mark.parametrize(
    ("how", "rcode", "addresses", "soa"),
    [
        ("nxdomain", "NXDOMAIN", [], True),
        ("refused", "REFUSED", [], False),
        ("nodata", "NOERROR", [], True),
        ("zero", "NOERROR", ["0.0.0.0"], False),
    ],
)
def test_refuse_says_how(
    stage: Begin, how: str, rcode: str, addresses: list[str], soa: bool
) -> None:
    play = stage(ALLOW_EXAMPLE.replace("dns: {", f"dns: {{refuse: {how}, "))

    heard = play.query("evil.net").expects(Reply).reply

    assert (heard.rcode, heard.addresses, heard.ede) == (rcode, addresses, 15)
    assert (heard.soa_ttl is not None) is soa


def test_zero_answers_other_types_with_nothing(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("dns: {", "dns: {refuse: zero, "))

    assert play.query("evil.net", "AAAA").expects(Reply).reply.addresses == ["::"]
    heard = play.query("evil.net", "TXT").expects(Reply).reply
    assert (heard.rcode, heard.types) == ("NOERROR", [])


def test_a_second_refusal_is_the_same_and_is_noted_again(play: Play) -> None:
    first = play.query("evil.net", id=1).expects(Reply)
    second = play.query("EVIL.net", id=1).expects(Reply)

    assert first.reply.wire.lower() == second.reply.wire.lower()
    assert second.note("refused").reason is Reason.NAME_DEFAULT


def test_the_error_names_the_rule_by_id_and_never_by_its_text(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("rules:", 'rules:\n  - deny: "*.secret-list.net"'))

    wire = play.query("a.secret-list.net").expects(Reply).reply.wire

    assert b"rule " in wire and b"*.secret" not in wire


def test_row_89_a_label_with_a_dot_in_it_is_not_two_labels(play: Play) -> None:
    """The wire label `www.example.com` below evil.net, and below nothing."""
    scene = play.query("www\\.example\\.com").expects(Reply)

    assert scene.reply.rcode == "NXDOMAIN"
    assert play.query("a\\000b.example.com").expects(Reply).note("refused").reason is (
        Reason.BAD_LABEL
    )


def test_row_100_any_is_answered_short_if_allowed_and_refused_if_not(play: Play) -> None:
    """RFC 8482."""
    assert play.query("www.example.com", "ANY").expects(Reply).reply.types == [13]
    assert play.query("evil.net", "ANY").expects(Reply).reply.rcode == "NXDOMAIN"


def test_row_68_no_recursion_desired_is_refused_even_when_the_answer_is_known(play: Play) -> None:
    """Nobody reads the cache for other people's questions."""
    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7").expects(OpenThenReply)

    assert play.query("www.example.com", rd=False).expects(Reply).reply.rcode == "REFUSED"


def test_a_query_without_a_role_is_refused(play: Play) -> None:
    heard = play.query("www.example.com", role=NO_ROLE).expects(Reply).reply

    assert heard.rcode == "REFUSED"


def test_row_97_and_98_a_malformed_query_is_answered_without_a_word_of_why(play: Play) -> None:
    scene = play.raw(b"\x12\x34\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00").expects(Reply)

    assert scene.reply.rcode == "FORMERR"
    play.raw(b"short").nothing()
    play.raw(b"\x12\x34\x81\x80" + bytes(8)).nothing()


def test_row_87_a_search_suffix_does_not_make_a_name_allowed(play: Play) -> None:
    play.query("www.example.com.corp.net").expects(Reply)

    assert play.sent == []


def test_audit_lets_a_denied_name_through_and_says_so_every_time(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("default: deny", "default: deny\nmode: audit"))
    play.query("evil.net").expects(Ask)

    scene = play.answer("evil.net", "203.0.113.9").expects(Reply)
    again = play.query("evil.net").expects(Reply)

    assert scene.reply.addresses == again.reply.addresses == ["203.0.113.9"]
    assert scene.note("audited") and again.note("audited")
