"""Block lists: the addresses of denied names are closed, and never an allowed name's own."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Close, OpenThenReply, Reply
from dnsfw.engine.limits import Limits
from dnsfw.model import Verdict
from tests.scenario.conftest import Begin
from tests.support.play import Play, rr

TEMPLATE = """
version: 1
default: allow
rules:
{rules}
dns: {{upstreams: [192.0.2.53]}}
"""


def block(*rules: str) -> str:
    return TEMPLATE.format(rules="\n".join(f"  - {rule}" for rule in rules))


ADS = block("deny: ads.net")
STRICT = block("{deny: ads.net, shared: deny}")
ASKED = block('{deny: "*.ads.net", close: asked}')


def begin(stage: Begin, policy: str, **limits: int) -> Play:
    return stage(policy, limits=Limits(**limits) if limits else None)


def closed(play: Play, name: str, *addrs: str, ttl: int = 60) -> None:
    """The closing look-up of an exact name is asked and answered."""
    play.says(play.asking(name), *(rr(name, "A", addr, ttl) for addr in addrs)).expects(Close)


def test_a_denied_name_is_refused_and_its_addresses_are_closed(stage: Begin) -> None:
    play = begin(stage, ADS)
    play.after().expects(Ask, Ask)

    closed(play, "ads.net", "203.0.113.9")

    assert not play.lets("203.0.113.9") and play.lets("203.0.113.10")
    assert play.query("ads.net").expects(Reply).reply.rcode == "NXDOMAIN"


def test_both_families_are_looked_up(stage: Begin) -> None:
    play = begin(stage, ADS)
    play.after().expects(Ask, Ask)

    play.answer("ads.net", "2001:db8::9", rtype="AAAA").expects(Close)

    assert not play.lets("2001:db8::9")


def test_closing_grants_are_renewed_by_ttl_before_they_end(stage: Begin) -> None:
    play = begin(stage, ADS)
    play.after().expects(Ask, Ask)
    closed(play, "ads.net", "203.0.113.9", ttl=60)
    play.answer("ads.net", rtype="AAAA").nothing()

    play.after(seconds=60).expects(Ask, Ask)

    assert not play.lets("203.0.113.9")
    closed(play, "ads.net", "203.0.113.9", ttl=60)
    play.after(seconds=15)
    assert not play.lets("203.0.113.9")
    play.unexpected.clear()


def test_an_apex_is_closed_and_a_wildcard_is_not_asked_for(stage: Begin) -> None:
    play = begin(stage, block('deny: ".apex.net"', 'deny: "*.wild.net"', 'deny: "g-*.glob.net"'))

    play.after().expects(Ask, Ask)

    assert set(play.asked_names()) == {"apex.net"}


def test_row_76_an_address_that_an_allowed_name_holds_is_not_closed(stage: Begin) -> None:
    play = begin(stage, ADS)
    play.query("good.net").expects(Ask)
    play.answer("good.net", "203.0.113.9", ttl=300).expects(OpenThenReply)
    play.after().expects(Ask, Ask)

    scene = play.says(play.asking("ads.net"), rr("ads.net", "A", "203.0.113.9", 600)).nothing()

    assert play.lets("203.0.113.9")
    note = scene.note("shared")
    assert note.verdict is Verdict.DENY and "good.net" in note.text
    play.after(seconds=311)
    assert not play.lets("203.0.113.9")  # the allowed name has let go; the denied has not
    play.unexpected.clear()


def test_a_closed_address_reopens_before_the_allowed_answer_leaves(stage: Begin) -> None:
    play = begin(stage, ADS)
    play.after().expects(Ask, Ask)
    closed(play, "ads.net", "203.0.113.9")
    play.query("good.net").expects(Ask)

    scene = play.answer("good.net", "203.0.113.9").expects(OpenThenReply)

    assert scene.reply.addresses == ["203.0.113.9"]
    assert play.lets("203.0.113.9")
    assert "ads.net" in scene.note("shared").text


def test_shared_deny_keeps_it_closed_and_out_of_the_answer(stage: Begin) -> None:
    play = begin(stage, STRICT)
    play.after().expects(Ask, Ask)
    closed(play, "ads.net", "203.0.113.9")
    play.query("good.net").expects(Ask)

    scene = play.answer("good.net", "203.0.113.9", "203.0.113.10").expects(OpenThenReply)

    assert scene.reply.addresses == ["203.0.113.10"]
    assert not play.lets("203.0.113.9")


def test_shared_deny_answers_nothing_when_nothing_is_left(stage: Begin) -> None:
    play = begin(stage, STRICT)
    play.after().expects(Ask, Ask)
    closed(play, "ads.net", "203.0.113.9")
    play.query("good.net").expects(Ask)

    heard = play.answer("good.net", "203.0.113.9").expects(Reply).reply

    assert (heard.rcode, heard.addresses, heard.ede) == ("NOERROR", [], 15)


def test_shared_deny_takes_the_address_out_of_cached_answers_too(stage: Begin) -> None:
    play = begin(stage, STRICT)
    play.query("good.net").expects(Ask)
    play.answer("good.net", "203.0.113.9", "203.0.113.10").expects(OpenThenReply)
    play.after().expects(Ask, Ask)

    closed(play, "ads.net", "203.0.113.9")

    assert play.query("good.net").expects(OpenThenReply).reply.addresses == ["203.0.113.10"]


def test_an_answer_that_closes_a_port_takes_it_out_of_other_cached_answers(stage: Begin) -> None:
    rules = ('deny: ".y.net"', "allow: w.y.net:25", "{deny: mail.net:25, shared: deny}")
    play = begin(stage, block(*rules))
    play.after().expects(Ask, Ask, Ask, Ask)
    play.query("w.y.net").expects(Ask)
    play.answer("w.y.net", "203.0.113.9").expects(OpenThenReply)
    assert play.lets("203.0.113.9", 25)

    play.query("mail.net").expects(Ask)
    play.answer("mail.net", "203.0.113.9").expects(OpenThenReply)

    assert not play.lets("203.0.113.9", 25)
    assert play.query("w.y.net").expects(Reply).reply.addresses == []


def test_an_address_that_a_rule_denies_is_not_told_here_either(stage: Begin) -> None:
    play = begin(stage, block("deny: 203.0.113.9"))
    play.query("good.net").expects(Ask)

    scene = play.answer("good.net", "203.0.113.9", "203.0.113.10").expects(OpenThenReply)

    assert scene.reply.addresses == ["203.0.113.10"]


def test_a_denied_port_of_a_name_is_closed_and_the_rest_of_it_is_not(stage: Begin) -> None:
    play = begin(stage, block("deny: mail.net:25"))
    play.after().expects(Ask, Ask)
    closed(play, "mail.net", "203.0.113.9")

    assert not play.lets("203.0.113.9", 25) and play.lets("203.0.113.9", 443)
    play.query("mail.net").expects(Ask)
    play.answer("mail.net", "203.0.113.9").expects(OpenThenReply)
    assert not play.lets("203.0.113.9", 25) and play.lets("203.0.113.9", 443)


def test_row_74_private_and_special_addresses_are_never_closed(stage: Begin) -> None:
    """Who runs a denied name must not close the router."""
    play = begin(stage, ADS)
    play.after().expects(Ask, Ask)

    play.answer("ads.net", "192.168.1.1", "127.0.0.1", "169.254.169.254", "0.0.0.0").nothing()

    assert not play.kernel.entries


def test_under_default_deny_no_denied_name_is_looked_up(stage: Begin) -> None:
    play = stage(ADS.replace("default: allow", "default: deny"))

    play.after(seconds=600).nothing()

    assert play.sent == []


def test_made_up_names_are_looked_up_only_where_the_rule_says_so(stage: Begin) -> None:
    play = begin(stage, block('deny: "*.ads.net"'))

    play.query("secret.ads.net").expects(Reply)
    play.after(seconds=60).nothing()

    assert play.sent == []


def test_close_asked_looks_a_made_up_name_up_and_closes_it(stage: Begin) -> None:
    play = begin(stage, ASKED)
    play.query("x.ads.net").expects(Reply)

    play.after().expects(Ask, Ask)
    closed(play, "x.ads.net", "203.0.113.9")

    assert not play.lets("203.0.113.9")
    play.answer("x.ads.net", rtype="AAAA")
    play.query("x.ads.net").expects(Reply)
    play.after(seconds=5).nothing()  # closed already: not asked again


def test_close_asked_has_a_rate_and_a_longest_label(stage: Begin) -> None:
    play = begin(stage, ASKED, asked_a_minute=3, closings_at_once=100)
    play.query(f"{'a' * 33}.ads.net").expects(Reply)
    play.after().nothing()

    for n in range(10):
        play.query(f"n{n}.ads.net").expects(Reply)
    play.after().expects(*[Ask] * 6)

    assert set(play.asked_names()) == {"n0.ads.net", "n1.ads.net", "n2.ads.net"}


def test_closing_look_ups_are_few_at_once(stage: Begin) -> None:
    play = begin(stage, block(*(f"deny: ads{n}.net" for n in range(50))), closings_at_once=4)

    play.after().expects(*[Ask] * 4)

    play.answer("ads0.net").nothing()
    assert play.engine.next_deadline() == 0 or play.engine.next_deadline() <= play.now
    play.after().expects(Ask)


def test_a_failed_closing_look_up_is_tried_again(stage: Begin) -> None:
    play = begin(stage, ADS)
    play.after().expects(Ask, Ask)
    play.breaks(play.asking("ads.net")).nothing()
    play.breaks(play.asking("ads.net", "AAAA")).nothing()

    play.after(seconds=4).nothing()
    play.after(seconds=1.1).expects(Ask, Ask)


def test_a_reload_that_denies_a_held_name_closes_its_addresses_at_once(stage: Begin) -> None:
    play = begin(stage, block("deny: other.net"))
    play.after().expects(Ask, Ask)
    play.query("ads.net").expects(Ask)
    play.answer("ads.net", "203.0.113.9").expects(OpenThenReply)

    play.swap(ADS).expects(Close)

    assert not play.lets("203.0.113.9")


def test_a_reload_that_allows_a_name_opens_its_addresses_again(stage: Begin) -> None:
    play = begin(stage, ADS)
    play.after().expects(Ask, Ask)
    closed(play, "ads.net", "203.0.113.9")

    play.swap(block("deny: other.net")).expects(Close)

    assert play.lets("203.0.113.9")


def test_a_reload_that_allows_a_name_stops_the_look_ups_for_it(stage: Begin) -> None:
    play = begin(stage, ADS)
    play.after().expects(Ask, Ask)

    play.swap(block("deny: other.net")).nothing()

    assert not play.open_asks
    play.after().expects(Ask, Ask)
    assert set(play.asked_names()[2:]) == {"other.net"}


def test_resolved_only_drops_what_was_never_handed_out(stage: Begin) -> None:
    play = stage(ADS.replace("default: allow", "default: allow\nresolved_only: true"))
    play.after().expects(Ask, Ask)
    play.query("good.net").expects(Ask)

    play.answer("good.net", "203.0.113.7").expects(OpenThenReply)

    assert play.lets("203.0.113.7") and not play.lets("203.0.113.8")


def test_a_full_table_does_not_stop_answers_where_the_default_allows(stage: Begin) -> None:
    play = begin(stage, block("deny: other.net"), grants=1)
    play.query("a.net").expects(Ask)
    play.answer("a.net", "203.0.113.7").expects(OpenThenReply)
    play.query("b.net").expects(Ask)

    scene = play.answer("b.net", "203.0.113.8").expects(Reply)

    assert scene.reply.addresses == ["203.0.113.8"]
    play.unexpected.clear()
