"""Promise 5: a look-up by one role opens nothing for another, in any order of events."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dnsfw.engine.effects import Ask, Close, OpenThenReply, Reply
from dnsfw.engine.limits import Limits
from dnsfw.model import HOST, NO_ROLE, Flow, Nanos, Reason, RoleId, RuleId, abi, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy, RolePolicy
from dnsfw.wire.codes import Ede
from tests.scenario.conftest import ALLOW_ALL, ALLOW_EXAMPLE, Begin
from tests.support.play import Play, rr

WEB, DB = RoleId(16), RoleId(17)
NAME, ADDR = "www.example.com", "192.0.2.7"
BLOCK = ALLOW_ALL.replace("allow: nothing.invalid", "deny: ads.net")
AUDIT = ALLOW_EXAMPLE.replace("default: deny", "default: deny\nmode: audit")


def roles(texts: Mapping[RoleId, str]) -> Policy:
    """One policy of several roles, each by a text of its own."""
    made = {}
    for role, text in texts.items():
        one = compile_text(text).host
        made[role] = RolePolicy(role, f"r{role}", one.default, one.rules, mode=one.mode)
    return Policy(made, compile_text(texts[HOST]).dns)


@pytest.fixture
def play(stage: Begin) -> Play:
    """`host` and `web` may look up the same names; `db` only others."""
    return put(stage(ALLOW_EXAMPLE), {HOST: ALLOW_EXAMPLE, WEB: ALLOW_EXAMPLE, DB: ALLOW_DB})


ALLOW_DB = ALLOW_EXAMPLE.replace("example.com", "db.internal")


def put(play: Play, texts: Mapping[RoleId, str]) -> Play:
    """Swap to these roles; whatever that closes is expected."""
    play.policy = roles(texts)
    scene = play.does(play.engine.swap_policy(play.policy, play.now))
    scene.expects(*(type(e) for e in scene.effects if isinstance(e, Close | Ask | Reply)))
    return play


def looked_up(play: Play, role: RoleId, name: str = NAME, addr: str = ADDR) -> None:
    play.query(name, role=role, client=role).expects(Ask)
    play.answer(name, addr).expects(OpenThenReply)


def test_a_look_up_by_one_role_opens_nothing_for_another(play: Play) -> None:
    looked_up(play, WEB)

    assert play.lets(ADDR, role=WEB)
    assert not play.lets(ADDR, role=HOST) and not play.lets(ADDR, role=DB)
    assert not play.grants(ADDR, HOST)


def test_row_68_what_one_role_has_in_the_cache_another_asks_for_itself(play: Play) -> None:
    looked_up(play, WEB)

    play.query(NAME, role=HOST).expects(Ask)  # as slow as for a name that nobody has asked
    play.answer(NAME, ADDR).expects(OpenThenReply)
    assert play.lets(ADDR, role=HOST)


@pytest.mark.parametrize("role", [HOST, WEB, DB, NO_ROLE])
def test_row_68_a_query_without_rd_is_told_nothing_of_any_cache(play: Play, role: RoleId) -> None:
    looked_up(play, WEB)

    heard = play.query(NAME, role=role, rd=False).expects(Reply).reply
    assert heard.rcode == "REFUSED" and not heard.addresses


def test_equal_questions_of_two_roles_are_two_questions(play: Play) -> None:
    play.query(NAME, role=WEB, client="w").expects(Ask)
    play.query(NAME, role=HOST, client="h").expects(Ask)
    first, second = play.open_asks.values()

    heard = play.says(second, rcode=2).expects(Reply).heard
    assert [h.client.route for h in heard] == ["h"]
    heard = play.says(first, rr(NAME, "A", ADDR)).expects(OpenThenReply).heard
    assert [h.client.route for h in heard] == ["w"]
    assert play.lets(ADDR, role=WEB) and not play.lets(ADDR, role=HOST)


@pytest.mark.parametrize("role", [NO_ROLE, RoleId(99)])
def test_who_has_no_role_is_refused_and_told_why(play: Play, role: RoleId) -> None:
    scene = play.query(NAME, role=role).expects(Reply)

    assert scene.reply.rcode == "REFUSED" and scene.reply.ede == Ede.PROHIBITED
    assert scene.note("refused").reason is Reason.UNKNOWN_ASKER
    assert scene.note("refused").role == role
    assert not play.sent


def test_a_name_is_judged_by_the_rules_of_who_asks(play: Play) -> None:
    heard = play.query(NAME, role=DB).expects(Reply).reply

    assert heard.rcode == "NXDOMAIN"
    assert not play.sent
    play.query("a.db.internal", role=DB).expects(Ask)
    play.says(play.asking("a.db.internal"), rcode=3).expects(Reply)


def test_refusals_are_remembered_for_each_role_apart(play: Play) -> None:
    play.query(NAME, role=DB).expects(Reply)
    again = play.query(NAME, role=DB).expects(Reply)

    assert again.note("refused").role == DB
    looked_up(play, WEB)
    hit = play.query(NAME, role=WEB).expects(Reply)
    assert hit.reply.addresses == [ADDR]


# audit


def test_row_140_audit_is_the_mode_of_one_role(play: Play) -> None:
    put(play, {HOST: ALLOW_EXAMPLE, WEB: AUDIT})

    play.query("evil.net", role=HOST).expects(Reply)
    assert not play.sent
    play.query("evil.net", role=WEB).expects(Ask)
    scene = play.answer("evil.net", ADDR).expects(Reply)
    assert scene.reply.addresses == [ADDR]
    assert scene.note("audited").role == WEB
    assert not play.grants(ADDR, WEB) and not play.grants(ADDR, HOST)


def test_audit_tells_also_of_a_refused_name_on_the_chain(play: Play) -> None:
    denied = AUDIT.replace("rules:", "rules:\n  - deny: tracker.net")
    put(play, {HOST: denied, WEB: ALLOW_EXAMPLE})
    play.query(NAME).expects(Ask)

    scene = play.answer(NAME, ADDR, via=["tracker.net"]).expects(OpenThenReply)

    assert scene.note("audited").text == "chain-denied: leads to tracker.net"
    again = play.query(NAME).expects(Reply)
    assert again.note("audited")


# a reload


def test_a_role_that_goes_takes_its_grants_with_it(play: Play) -> None:
    looked_up(play, WEB)
    looked_up(play, HOST)

    put(play, {HOST: ALLOW_EXAMPLE, DB: ALLOW_DB})

    assert not play.grants(ADDR, WEB)
    assert play.grants(ADDR, HOST)
    assert play.query(NAME, role=WEB).expects(Reply).reply.rcode == "REFUSED"


def test_a_role_that_comes_back_finds_nothing_of_the_old_one(play: Play) -> None:
    looked_up(play, WEB)
    put(play, {HOST: ALLOW_EXAMPLE})
    put(play, {HOST: ALLOW_EXAMPLE, WEB: ALLOW_EXAMPLE})

    assert not play.grants(ADDR, WEB)
    play.query(NAME, role=WEB).expects(Ask)
    play.says(play.asking(NAME), rcode=3).expects(Reply)


def test_who_waits_when_its_role_goes_is_refused_at_once(play: Play) -> None:
    play.query(NAME, role=WEB).expects(Ask)
    play.policy = roles({HOST: ALLOW_EXAMPLE})

    scene = play.does(play.engine.swap_policy(play.policy, play.now)).expects(Reply)

    assert scene.reply.rcode == "REFUSED"
    assert scene.note("refused").reason is Reason.UNKNOWN_ASKER
    assert not play.open_asks


def flow(role: RoleId, *, inbound: bool = False, reason: Reason = Reason.GRANTED) -> Flow:
    return Flow(
        bytes([role, inbound]), role, play_rule(), inbound, 6, addr_from("192.0.2.1"), 443,
        addr_from(ADDR), 443, Nanos(1), Nanos(1), abi.FlowState.OPEN, reason,
    )  # fmt: skip


def cut(play: Play, *flows: Flow) -> list[Flow]:
    """Those that the policy of now ends."""
    scene = play.does(play.engine.judge_flows(flows, play.now))
    return scene.expects(*map(type, scene.effects)).cut


def play_rule() -> RuleId:
    return compile_text(ALLOW_EXAMPLE).host.rules[0].id


def test_the_flows_of_a_role_that_goes_are_cut_the_inbound_ones_too(play: Play) -> None:
    looked_up(play, WEB)
    looked_up(play, HOST)
    there = [flow(WEB), flow(WEB, inbound=True, reason=Reason.INBOUND), flow(HOST)]
    assert not cut(play, *there)

    put(play, {HOST: ALLOW_EXAMPLE})

    assert cut(play, *there) == there[:2]


def test_a_rule_that_one_role_loses_closes_nothing_of_another_that_keeps_it(play: Play) -> None:
    """Equal rules have equal ids, so the kernel alone could not tell them apart."""
    looked_up(play, WEB)
    looked_up(play, HOST)

    put(play, {HOST: ALLOW_EXAMPLE, WEB: ALLOW_DB})

    assert not play.grants(ADDR, WEB)
    assert play.grants(ADDR, HOST)
    assert [one.role for one in cut(play, flow(WEB), flow(HOST))] == [WEB]


# closing


def test_closing_grants_are_of_the_role_whose_rule_closes(play: Play) -> None:
    put(play, {HOST: BLOCK, WEB: ALLOW_ALL})
    scene = play.after(0)
    scene.expects(Ask, Ask)  # A and AAAA, for `host` alone

    play.answer("ads.net", ADDR).expects(Close)
    play.says(play.asking("ads.net", "AAAA")).nothing()

    assert not play.lets(ADDR, role=HOST) and play.lets(ADDR, role=WEB)
    play.query("ads.net", role=WEB).expects(Ask)
    assert play.answer("ads.net", ADDR).expects(OpenThenReply).reply.addresses == [ADDR]
    assert not play.lets(ADDR, role=HOST) and play.lets(ADDR, role=WEB)


def test_one_roles_made_up_names_use_up_nobody_elses_look_ups(stage: Begin) -> None:
    asked = ALLOW_ALL.replace("allow: nothing.invalid", "{deny: '*.ads.net', close: asked}")
    play = stage(asked, limits=Limits(asked_a_minute=2))
    put(play, {HOST: asked, WEB: asked})
    for n in range(5):
        play.query(f"r{n}.ads.net", role=HOST).expects(Reply)
    play.query("mine.ads.net", role=WEB).expects(Reply)

    assert len(play.after(0).expects(*[Ask] * 6).asks) == 6
    assert play.asked_names().count("mine.ads.net") == 2


# row 106


def test_row_106_a_full_role_takes_no_room_from_another(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, limits=Limits(grants=18))
    put(play, {HOST: ALLOW_EXAMPLE, WEB: ALLOW_EXAMPLE})
    for n in range(40):
        play.query(f"r{n}.example.com", role=HOST).expects(Ask)
        scene = play.answer(f"r{n}.example.com", f"198.51.100.{n}")
        scene.expects(*{type(e) for e in scene.effects} & {OpenThenReply, Reply})

    looked_up(play, WEB)
    assert play.lets(ADDR, role=WEB)


def test_row_106_questions_in_flight_of_one_role_keep_nobody_else_waiting(stage: Begin) -> None:
    play = stage(ALLOW_EXAMPLE, limits=Limits(pending=9))
    put(play, {HOST: ALLOW_EXAMPLE, WEB: ALLOW_EXAMPLE})
    failed = 0
    for n in range(20):
        scene = play.query(f"r{n}.example.com", role=HOST)
        failed += bool(scene.heard)
        scene.expects(Reply if scene.heard else Ask)

    assert failed
    looked_up(play, WEB)


def test_queries_are_counted_for_each_role(play: Play) -> None:
    play.query(NAME, role=DB).expects(Reply)
    play.query(NAME, role=DB).expects(Reply)
    play.query(NAME, role=NO_ROLE).expects(Reply)

    assert play.engine.asked(DB) == 2 and play.engine.asked(HOST) == 0
    assert play.engine.asked(NO_ROLE) == 0
