"""What may be asked of an allowed name: types, names that say too much, names of addresses."""

from __future__ import annotations

import pytest

from dnsfw.engine.effects import Ask, OpenThenReply, Reply
from dnsfw.model import HOST, Reason, RoleId, Verdict
from dnsfw.wire.message import read_query
from tests.scenario.conftest import ALLOW_ALL, ALLOW_EXAMPLE, Begin
from tests.scenario.test_roles import WEB, put
from tests.support.play import Play, rr

NAME, ADDR = "www.example.com", "192.0.2.7"
REVERSE = "7.2.0.192.in-addr.arpa"
V6 = "2001:db8::f"
REVERSE6 = ".".join("f000000000000000000000008bd01002") + ".ip6.arpa"


def policy(line: str, of_rule: str = "") -> str:
    text = ALLOW_EXAMPLE.replace("default: deny", f"default: deny\n{line}")
    return text.replace(':443"', f':443"\n    {of_rule}') if of_rule else text


def opened(play: Play, name: str = NAME, addr: str = ADDR, role: RoleId = HOST) -> None:
    rtype = "AAAA" if ":" in addr else "A"
    play.query(name, rtype, role=role).expects(Ask)
    play.answer(name, addr, rtype=rtype).expects(OpenThenReply)


# --- row 64: types ---


@pytest.mark.parametrize("rtype", ["A", "AAAA", "HTTPS", "MX", "TXT", "SRV", "NS", "SOA", "DS"])
def test_row_64_what_hosts_ask_for_is_asked_under_default_deny(play: Play, rtype: str) -> None:
    play.query(NAME, rtype).expects(Ask)


@pytest.mark.parametrize("rtype", ["TYPE10", "TYPE65280", "TYPE65399", "TYPE300"])
def test_row_64_null_and_private_types_do_not_leave(play: Play, rtype: str) -> None:
    scene = play.query(NAME, rtype).expects(Reply)

    heard = scene.reply
    assert (heard.rcode, heard.types, heard.ede, heard.soa_ttl) == ("NOERROR", [], 15, 10)
    assert play.sent == []
    note = scene.note("refused")
    assert (note.reason, note.verdict) == (Reason.QTYPE, Verdict.DENY)
    assert play.engine.stats()["types_refused"] == 1


def test_row_64_a_refused_type_leaves_the_name_itself_alone(play: Play) -> None:
    play.query(NAME, "TYPE10").expects(Reply)

    opened(play)
    assert play.lets(ADDR)


def test_row_64_strict_leaves_out_text_and_mail(stage: Begin) -> None:
    play = stage(policy("qtypes: strict"))

    for rtype in ("TXT", "MX", "NS", "SOA"):
        assert play.query(NAME, rtype).expects(Reply).reply.ede == 15
    for rtype in ("A", "AAAA", "HTTPS", "SRV"):
        play.query(NAME, rtype).expects(Ask)


def test_row_64_a_rule_says_its_own(stage: Begin) -> None:
    play = stage(policy("qtypes: strict", "qtypes: [TXT, TYPE65280]"))

    play.query(NAME, "TXT").expects(Ask)
    play.query(NAME, "TYPE65280").expects(Ask)
    play.query(NAME, "A").expects(Reply)


def test_row_64_where_every_name_is_allowed_every_type_is(stage: Begin) -> None:
    stage(ALLOW_ALL).query(NAME, "TYPE65280").expects(Ask)


def test_row_64_an_audit_tells_and_lets_pass(stage: Begin) -> None:
    scene = stage(policy("mode: audit")).query(NAME, "TYPE10").expects(Ask)

    assert "TYPE10" in scene.note("audited").text


def test_row_64_a_reload_ends_a_question_whose_type_is_refused_now(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE)
    play.query(NAME, "TXT").expects(Ask)

    heard = play.swap(policy("qtypes: strict")).expects(Reply).reply

    assert heard.types == []


def test_row_64_what_is_cached_is_refused_after_a_reload(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE)
    ask = play.query(NAME, "TXT").expects(Ask).ask
    play.says(ask, rr(NAME, "TXT", b"\1x")).expects(Reply)
    assert play.query(NAME, "TXT").expects(Reply).reply.types == [16]

    play.swap(policy("qtypes: strict")).nothing()

    assert play.query(NAME, "TXT").expects(Reply).reply.types == []


# --- row 63: names that say too much ---

REFUSE = "guard: {action: refuse, names: 5, window: 1m}"


def test_row_63_a_tunnel_below_an_allowed_wildcard_ends(stage: Begin) -> None:
    play = stage(policy(REFUSE))
    opened(play)
    for i in range(4):
        play.query(f"n{i}.example.com").expects(Ask)

    scene = play.query("n4.example.com").expects(Reply)

    assert (scene.reply.rcode, scene.reply.ede) == ("NXDOMAIN", 15)
    note = scene.note("refused")
    assert (note.reason, note.verdict) == (Reason.GUARDED, Verdict.DENY)
    assert note.text == "more than 5 new names in 60s below example.com"
    assert "n4.example.com" not in play.asked_names()
    play.after(seconds=1)
    play.unexpected.clear()
    assert play.query(NAME).expects(Reply).reply.addresses == [ADDR]  # what is in use goes on
    assert play.lets(ADDR)


def test_row_63_the_same_question_is_let_through_when_the_window_has_passed(stage: Begin) -> None:
    play = stage(policy(REFUSE))
    for i in range(5):
        play.query(f"n{i}.example.com", client=i).expects(Ask)
    play.query("late.example.com", client=9).expects(Reply)
    play.after(seconds=61)
    play.unexpected.clear()

    play.query("late.example.com", client=9).expects(Ask)


def test_row_63_a_label_full_of_data_is_throttled_not_kept(stage: Begin) -> None:
    play = stage(policy("guard: throttle"))
    first, second = f"{'a' * 60}.example.com", f"{'b' * 60}.example.com"

    play.query(first).expects(Ask)
    heard = play.query(second).expects(Reply).reply
    assert (heard.rcode, heard.ede, heard.soa_ttl) == ("SERVFAIL", 15, None)
    play.answer(first, ADDR).expects(OpenThenReply)
    play.after(seconds=3).nothing()

    play.query(second).expects(Ask)


def test_row_63_by_default_it_is_told_once_and_nothing_breaks(play: Play) -> None:
    notes = []
    for i in range(150):
        notes += play.query(f"n{i}.example.com", client=i).expects(Ask).notes

    assert [(n.kind, n.verdict) for n in notes] == [("guarded", Verdict.ALLOW)]
    stats = play.engine.stats()
    assert (stats["guard_signs"], stats["guard_held"], stats["guard_domains"]) == (50, 0, 1)


def test_row_63_names_that_do_not_exist_are_counted_by_their_answers(stage: Begin) -> None:
    play = stage(policy("guard: {action: refuse, names: 1000}"))
    for i in range(30):
        ask = play.query(f"n{i}.example.com", client=i).expects(Ask).ask
        play.says(ask, rcode=3).expects(Reply)

    scene = play.query("n30.example.com").expects(Reply)

    assert "do not exist" in scene.note("refused").text


def test_row_63_an_exact_name_says_nothing_and_has_no_guard(stage: Begin) -> None:
    text = policy("guard: {action: refuse, names: 1}").replace("*.example.com", "www.example.com")
    play = stage(text)

    play.query(NAME, "A").expects(Ask)
    play.query(NAME, "AAAA").expects(Ask)
    assert play.engine.stats()["guard_domains"] == 0


def test_row_63_a_rule_says_its_own_and_off_is_off(stage: Begin) -> None:
    play = stage(policy("guard: {action: refuse, names: 1}", "guard: off"))

    for i in range(50):
        play.query(f"n{i}.example.com", client=i).expects(Ask)


def test_row_63_an_audit_only_tells(stage: Begin) -> None:
    play = stage(policy("mode: audit\nguard: {action: refuse, names: 1}"))
    play.query("a.example.com").expects(Ask)

    assert play.query("b.example.com").expects(Ask).note("guarded").verdict is Verdict.ALLOW


# --- row 65: names of addresses ---


@pytest.mark.parametrize(("addr", "reverse"), [(ADDR, REVERSE), (V6, REVERSE6)])
def test_row_65_the_name_of_an_address_is_asked_for_while_it_is_granted(
    play: Play, addr: str, reverse: str
) -> None:
    heard = play.query(reverse, "PTR").expects(Reply).reply
    assert heard.rcode == "NXDOMAIN"
    assert play.sent == []

    opened(play, addr=addr)
    ask = play.query(reverse, "PTR").expects(Ask).ask
    assert read_query(ask.wire).name == read_query(play.sent[-1].wire).name
    heard = play.says(ask, rr(reverse, "PTR", NAME)).expects(Reply).reply
    assert (heard.rcode, heard.types) == ("NOERROR", [12])

    play.after(seconds=3600)
    play.unexpected.clear()
    assert not play.lets(addr)
    play.query(reverse, "PTR").expects(Reply)


def test_row_65_another_roles_grant_opens_no_name(play: Play) -> None:
    put(play, {HOST: ALLOW_EXAMPLE, WEB: ALLOW_EXAMPLE})
    opened(play, role=WEB)

    play.query(REVERSE, "PTR").expects(Reply)
    play.query(REVERSE, "PTR", role=WEB).expects(Ask)


def test_row_65_an_address_rule_opens_the_names_of_its_addresses(stage: Begin) -> None:
    rules = 'rules:\n  - allow: 10.0.0.0/8\n  - allow: "[2001:db8::]/120"'
    play = stage(ALLOW_EXAMPLE.replace("rules:", rules))

    play.query("3.2.1.10.in-addr.arpa", "PTR").expects(Ask)
    play.query(REVERSE6, "PTR").expects(Ask)
    play.query("3.2.1.11.in-addr.arpa", "PTR").expects(Reply)
    play.query("2.1.10.in-addr.arpa", "PTR").expects(Reply)
    play.query("3.2.1.10.in-addr.arpa", "TXT").expects(Reply)
    play.query("003.2.1.10.in-addr.arpa", "PTR").expects(Reply)


def test_row_65_a_denied_address_or_name_opens_none(stage: Begin) -> None:
    rules = f'rules:\n  - allow: 10.0.0.0/8\n  - deny: 10.1.0.0/16\n  - deny: "*.{REVERSE[4:]}"'
    play = stage(ALLOW_EXAMPLE.replace("rules:", rules))
    opened(play)

    play.query("1.1.1.10.in-addr.arpa", "PTR").expects(Reply)
    play.query(REVERSE, "PTR").expects(Reply)
    play.query("1.1.2.10.in-addr.arpa", "PTR").expects(Ask)


def test_row_65_a_delegated_reverse_zone_is_followed(play: Play) -> None:
    """RFC 2317: the names of a block smaller than /24 are aliases."""
    opened(play)
    ask = play.query(REVERSE, "PTR").expects(Ask).ask
    there = "7.0/25.2.0.192.in-addr.arpa"

    heard = play.says(ask, rr(REVERSE, "CNAME", there), rr(there, "PTR", NAME)).expects(Reply)

    assert heard.reply.types == [5, 12]
    assert heard.notes == []


def test_row_65_loopback_is_nobodys_business(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - allow: 127.0.0.0/8"))

    assert play.query("1.0.0.127.in-addr.arpa", "PTR").expects(Reply).reply.rcode == "NXDOMAIN"
    assert play.sent == []


# --- row 66: options of answers ---


def test_row_66_options_of_an_answer_stay_with_us(play: Play) -> None:
    ask = play.query(NAME).expects(Ask).ask
    wire = bytearray(message_with_cookie(ask.wire))

    heard = play.upstream(ask, bytes(wire)).expects(OpenThenReply).reply

    assert heard.message.edns is not None
    assert heard.message.edns.options == ()


def message_with_cookie(query: bytes) -> bytes:
    """An answer of one address whose OPT carries an option of private use."""
    end = len(query) - 11
    answer = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc0\0\2\7"
    opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\x08\xfd\xe9\0\4data"
    return query[:2] + b"\x81\x80\0\1\0\1\0\0\0\1" + query[12:end] + answer + opt
