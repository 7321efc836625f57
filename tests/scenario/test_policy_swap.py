"""A reload: every held name is judged again at once, and what is refused now is closed."""

from __future__ import annotations

from dataclasses import replace

from dnsfw.datapath.abi import FlowState
from dnsfw.engine.effects import Ask, Close, Cut, OpenThenReply, Reply
from dnsfw.engine.limits import Limits
from dnsfw.model import HOST, Addr, Flow, Nanos, Reason, RuleId, addr_from
from tests.scenario.conftest import ALLOW_EXAMPLE, Begin
from tests.support.play import Play

ONLY_NET = ALLOW_EXAMPLE.replace('"*.example.com:443"', "192.0.2.0/24")
OTHER = ALLOW_EXAMPLE.replace("*.example.com", "other.net")
DENY_WWW = ALLOW_EXAMPLE.replace("rules:", "rules:\n  - deny: www.example.com")


def opened(play: Play, name: str, *addrs: str, ttl: int = 300, via: tuple[str, ...] = ()) -> None:
    play.query(name).expects(Ask)
    play.answer(name, *addrs, ttl=ttl, via=via).expects(OpenThenReply)


def flow_to(play: Play, addr: str, port: int = 443, **changes: object) -> Flow:
    (grant,) = play.grants(addr)
    flow = Flow(
        key=b"k",
        role=HOST,
        rule=grant.rule,
        inbound=False,
        proto=6,
        local=Addr(bytes(16)),
        local_port=40_000,
        remote=addr_from(addr),
        remote_port=port,
        since=play.now,
        seen=play.now,
        state=FlowState.OPEN,
        reason=Reason.GRANTED,
    )
    return replace(flow, **changes)  # type: ignore[arg-type]


def test_a_removed_rule_closes_what_it_had_opened(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")

    play.swap(OTHER).expects(Close)

    assert not play.kernel.entries
    assert play.query("www.example.com").expects(Reply).reply.rcode == "NXDOMAIN"


def test_a_new_deny_closes_one_name_of_a_wildcard_and_not_the_other(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")
    opened(play, "api.example.com", "192.0.2.8")

    play.swap(DENY_WWW).expects(Close)

    assert not play.lets("192.0.2.7") and play.lets("192.0.2.8")


def test_a_new_deny_of_a_name_on_the_chain_closes_the_address(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7", via=("x.tracker.net",))

    play.swap(ALLOW_EXAMPLE.replace("rules:", 'rules:\n  - deny: "*.tracker.net"')).expects(Close)

    assert not play.lets("192.0.2.7")


def test_an_address_that_another_name_still_holds_stays_open(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")
    opened(play, "api.example.com", "192.0.2.7")

    play.swap(DENY_WWW).nothing()

    assert play.lets("192.0.2.7")


def test_another_rule_for_the_same_name_takes_over_with_its_ports(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")
    (before,) = play.grants("192.0.2.7")

    play.swap(ALLOW_EXAMPLE.replace(":443", ":80")).expects(Close)

    (after,) = play.grants("192.0.2.7")
    assert after.until == before.until and after.rule != before.rule
    assert play.lets("192.0.2.7", 80) and not play.lets("192.0.2.7", 443)


def test_the_same_policy_again_changes_nothing(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")

    play.swap(ALLOW_EXAMPLE).nothing()

    scene = play.query("www.example.com").expects(OpenThenReply)  # judged again, not asked again
    assert scene.reply.addresses == ["192.0.2.7"]


def test_row_113_an_answer_in_flight_is_judged_by_the_policy_of_its_arrival(play: Play) -> None:
    play.query("www.example.com").expects(Ask)

    scene = play.swap(OTHER).expects(Reply)

    assert scene.reply.rcode == "NXDOMAIN"
    assert not play.open_asks
    play.after(seconds=10).nothing()


def test_no_cached_answer_outlives_the_rule_that_allowed_it(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")
    play.query("www.example.com").expects(Reply)

    play.swap(DENY_WWW).expects(Close)

    assert play.query("www.example.com").expects(Reply).reply.rcode == "NXDOMAIN"
    play.swap(ALLOW_EXAMPLE).nothing()
    play.query("www.example.com").expects(OpenThenReply)  # the facts were kept


def test_a_refusal_does_not_outlive_its_rule(play: Play) -> None:
    play.query("www.other.net").expects(Reply)

    play.swap(OTHER.replace("other.net", "www.other.net"))

    play.query("www.other.net").expects(Ask)


def test_an_address_rule_that_comes_takes_addresses_out_of_cached_answers(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7", "192.0.2.8")

    play.swap(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - deny: 192.0.2.7"))

    assert play.query("www.example.com").expects(OpenThenReply).reply.addresses == ["192.0.2.8"]


def test_folded_names_close_when_a_deny_comes_and_stay_when_only_allows_come(
    stage: Begin,
) -> None:
    play = stage(ALLOW_EXAMPLE, limits=Limits(names_per_grant=1))
    opened(play, "a.example.com", "192.0.2.7", ttl=300)
    opened(play, "b.example.com", "192.0.2.7", ttl=10)

    play.swap(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - allow: new.net")).nothing()
    play.after(seconds=100)
    assert play.lets("192.0.2.7")

    play.swap(DENY_WWW).expects(Close)
    assert not play.lets("192.0.2.7")


def test_row_114_and_115_flows_that_the_policy_refuses_now_are_cut_and_others_go_on(
    play: Play,
) -> None:
    opened(play, "www.example.com", "192.0.2.7", ttl=10)
    opened(play, "api.example.com", "192.0.2.8", ttl=10)
    gone, stays = flow_to(play, "192.0.2.7"), flow_to(play, "192.0.2.8")
    play.after(seconds=30).expects(Close)
    play.does(play.engine.judge_flows([gone, stays], play.now)).nothing()  # outlives its TTL
    play.swap(DENY_WWW)

    scene = play.does(play.engine.judge_flows([gone, stays], play.now)).expects(Cut)

    assert scene.cut == [gone]


def test_a_flow_to_a_port_that_is_no_longer_allowed_is_cut(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")
    flow = flow_to(play, "192.0.2.7")

    play.swap(ALLOW_EXAMPLE.replace(":443", ":80")).expects(Close)

    assert play.does(play.engine.judge_flows([flow], play.now)).expects(Cut).cut == [flow]


def test_address_rules_judge_flows_before_names_do(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")
    flow = flow_to(play, "192.0.2.7")

    play.swap(ALLOW_EXAMPLE.replace("rules:", "rules:\n  - deny: 192.0.2.0/24"))

    assert play.does(play.engine.judge_flows([flow], play.now)).expects(Cut).cut == [flow]
    play.swap(ONLY_NET).expects(Close)
    play.does(play.engine.judge_flows([flow], play.now)).nothing()


def test_flows_without_a_remembered_name_live_as_long_as_their_rule(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")
    unknown = flow_to(play, "192.0.2.7", remote=addr_from("192.0.2.99"))

    play.does(play.engine.judge_flows([unknown], play.now)).nothing()
    play.swap(OTHER).expects(Close)

    assert play.does(play.engine.judge_flows([unknown], play.now)).expects(Cut).cut == [unknown]
    own = replace(unknown, reason=Reason.OWN_SOCKET, rule=RuleId(0))
    local = replace(unknown, remote=addr_from("127.0.0.1"))
    inbound = replace(unknown, inbound=True, since=Nanos(0))
    play.does(play.engine.judge_flows([own, local, inbound], play.now)).nothing()
