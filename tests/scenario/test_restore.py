"""A restart: the kernel's table says what is open, the journal who holds it (ATTACKS 48)."""

from __future__ import annotations

from dnsfw.engine.effects import Ask, Close, Holder, OpenThenReply, Reply
from dnsfw.engine.engine import Engine
from dnsfw.engine.limits import Limits
from dnsfw.model import HOST, SECOND, Entry, Grant, Nanos, RuleId, Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.wire.name import from_text
from tests.scenario.conftest import ALLOW_EXAMPLE
from tests.support.fakes import FixedRng
from tests.support.play import Play, Scene

DENY_WWW = ALLOW_EXAMPLE.replace("rules:", "rules:\n  - deny: www.example.com")


def journalled(scene: Scene) -> list[Holder]:
    return [h for e in scene.effects if isinstance(e, OpenThenReply) for h in e.holders]


def opened(play: Play, name: str, addr: str, ttl: int = 300) -> list[Holder]:
    play.query(name).expects(Ask)
    return journalled(play.answer(name, addr, ttl=ttl).expects(OpenThenReply))


def restart(play: Play, holders: list[Holder], policy: str = ALLOW_EXAMPLE) -> Scene:
    """The daemon dies and comes back over the same kernel table."""
    entries = [Entry(role, addr, grants) for (role, addr), grants in play.kernel.entries.items()]
    play.policy = compile_text(policy)
    if policy != ALLOW_EXAMPLE:  # Service.fill takes back what another policy had published
        play.published.clear()
    play.engine = Engine(play.policy, 1, FixedRng(), Limits(), publishes=play.engine._offers.able)
    play.open_asks.clear()
    return play.does(play.engine.restore(holders, entries, play.now))


def test_row_48_grants_are_taken_over_as_they_are(play: Play) -> None:
    holders = opened(play, "www.example.com", "192.0.2.7")
    before = dict(play.kernel.entries)

    restart(play, holders).nothing()

    assert play.kernel.entries == before
    assert play.engine.last_names(HOST, addr_from("192.0.2.7")) == (from_text("www.example.com"),)
    play.after(seconds=311).expects(Close)
    assert not play.kernel.entries


def test_a_policy_that_changed_meanwhile_closes_what_it_refuses(play: Play) -> None:
    holders = opened(play, "www.example.com", "192.0.2.7")
    holders += opened(play, "api.example.com", "192.0.2.8")

    restart(play, holders, DENY_WWW).expects(Close)

    assert not play.lets("192.0.2.7") and play.lets("192.0.2.8")


def test_a_grant_that_no_name_explains_lives_on_by_its_rule_alone(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")

    restart(play, []).nothing()

    assert play.lets("192.0.2.7")
    play.after(seconds=311).expects(Close)


def test_a_grant_whose_rule_is_gone_is_deleted(play: Play) -> None:
    opened(play, "www.example.com", "192.0.2.7")
    other = ALLOW_EXAMPLE.replace("example.com", "other.net")

    restart(play, [], other).expects(Close)

    assert not play.kernel.entries


def test_a_name_in_the_journal_that_was_never_written_opens_nothing(play: Play) -> None:
    holder = Holder(
        HOST, addr_from("192.0.2.7"), from_text("www.example.com"), RuleId(300),
        Nanos(play.now + 100 * SECOND),
    )  # fmt: skip

    restart(play, [holder]).nothing()

    assert not play.kernel.entries
    play.query("www.example.com").expects(Ask)


def test_a_deadline_in_the_journal_that_was_never_written_is_not_believed(play: Play) -> None:
    (holder,) = opened(play, "www.example.com", "192.0.2.7", ttl=60)
    (grant,) = play.grants("192.0.2.7")

    restart(play, [holder._replace(until=Nanos(grant.until + 900 * SECOND))]).nothing()

    assert play.grants("192.0.2.7") == [grant]


def test_expired_grants_are_swept_at_the_start(play: Play) -> None:
    play.kernel.entries[HOST, addr_from("192.0.2.7")] = (
        Grant(Nanos(play.now - 1), RuleId(300), play.policy.host.rules[0].ports, Verdict.ALLOW),
    )

    restart(play, []).expects(Close)

    assert not play.kernel.entries


def test_names_of_a_chain_survive_the_restart_and_are_judged(play: Play) -> None:
    play.query("www.example.com").expects(Ask)
    scene = play.answer("www.example.com", "192.0.2.7", via=["x.tracker.net"])
    holders = journalled(scene.expects(OpenThenReply))
    assert holders[0].chain == (from_text("x.tracker.net"),)

    deny = ALLOW_EXAMPLE.replace("rules:", 'rules:\n  - deny: "*.tracker.net"')
    restart(play, holders, deny).expects(Close)

    assert not play.lets("192.0.2.7")


def test_after_a_restart_the_same_name_is_opened_without_a_gap(play: Play) -> None:
    holders = opened(play, "www.example.com", "192.0.2.7")
    restart(play, holders).nothing()

    play.query("www.example.com").expects(Ask)
    play.answer("www.example.com", "192.0.2.7", ttl=600).expects(OpenThenReply)

    assert play.lets("192.0.2.7")
    play.query("www.example.com").expects(Reply)
