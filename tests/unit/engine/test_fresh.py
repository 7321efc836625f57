"""Which questions go the short way, and that the others are none the worse for it.

That both ways say the same is `tests/prop/test_fresh.py`.
"""

from __future__ import annotations

import pytest

from dnsfw.engine import fresh
from dnsfw.engine.effects import Ask, Close, OpenThenReply, Reply
from dnsfw.engine.engine import Engine
from dnsfw.model import Lockdown, addr_from
from dnsfw.policy.compile import compile_text
from tests.support.fakes import FixedRng, KernelTable
from tests.support.play import Play, rr

POLICY = """version: 1
default: deny
rules:
  - allow: "*.ok.com:443"
  - allow: www.ok.net
  - {allow: "*.many.com:443", addresses: 2}
  - allow: "*.two.com:80"
  - allow: "a.two.com:443"
dns: {upstreams: [192.0.2.53]}
"""


def play(text: str = POLICY, upstreams: int = 1) -> Play:
    policy = compile_text(text)
    return Play(policy, Engine(policy, upstreams, FixedRng()), KernelTable())


def short(one: Play) -> int:
    return len(one.engine._fresh)


def test_a_plain_question_goes_the_short_way_and_back() -> None:
    one = play()

    one.query("www.ok.com").expects(Ask)
    assert short(one) == 1
    assert not len(one.engine._lookups.table)
    heard = one.answer("www.ok.com", "203.0.113.7", "203.0.113.8", ttl=60).expects(OpenThenReply)
    assert heard.reply.addresses == ["203.0.113.7", "203.0.113.8"]
    assert heard.reply.ttls == [60, 60]
    assert short(one) == 0
    assert one.lets("203.0.113.7")
    assert not one.lets("203.0.113.7", port=80)


def test_what_was_answered_is_ready_for_the_next_who_asks() -> None:
    one = play()
    one.query("www.ok.com")
    one.answer("www.ok.com", "203.0.113.7")

    assert one.query("www.ok.com", client=2).expects(Reply).reply.addresses == ["203.0.113.7"]


@pytest.mark.parametrize(
    "how",
    [{"do": True}, {"cd": True}, {"rd": False}, {"tcp": True}, {"rtype": "PTR"}, {"rtype": "ANY"}],
    ids=str,
)
def test_questions_that_are_not_plain_go_the_long_way(how: dict[str, object]) -> None:
    one = play()

    one.query("www.ok.com", **how)  # type: ignore[arg-type]

    assert short(one) == 0
    one.forget()


@pytest.mark.parametrize("name", ["www.bad.com", "localhost", "x.test", "use-application-dns.net"])
def test_names_that_are_refused_or_answered_here_are_not_asked(name: str) -> None:
    one = play("version: 1\ndefault: deny\nrules: [allow: '*.ok.com']\n"
               "dns: {upstreams: [192.0.2.53]}\n")  # fmt: skip

    one.query(name).expects(Reply)
    assert short(one) == 0


def test_two_who_ask_the_same_wait_for_one_answer() -> None:
    one = play()
    one.query("www.ok.com", client=1).expects(Ask)
    one.query("www.ok.com", client=2).nothing()

    assert short(one) == 0
    heard = one.answer("www.ok.com", "203.0.113.7").expects(OpenThenReply).heard
    assert [h.client.route for h in heard] == [1, 2]


@pytest.mark.parametrize(
    "addrs", [["10.0.0.1"], ["203.0.113.7", "127.0.0.1"], ["169.254.169.254"]], ids=str
)
def test_addresses_that_are_not_ordinary_are_taken_out_as_ever(addrs: list[str]) -> None:
    one = play()
    one.query("www.ok.com")

    heard = one.answer("www.ok.com", *addrs)
    heard.expects(OpenThenReply if "203.0.113.7" in addrs else Reply)
    assert heard.reply.addresses == [a for a in addrs if a == "203.0.113.7"]


def test_own_addresses_that_changed_are_not_told_after_another_question_either() -> None:
    one = play()
    one.query("www.ok.com")
    one.does(one.engine.set_own_addresses([addr_from("203.0.113.7")]))
    one.query("more.ok.com", client=2)

    heard = one.answer("www.ok.com", "203.0.113.7")

    assert heard.reply.addresses == []
    assert not one.lets("203.0.113.7")


def test_own_addresses_that_changed_meanwhile_are_not_told() -> None:
    one = play()
    one.query("a.ok.com")
    one.does(one.engine.set_own_addresses([addr_from("203.0.113.7")]))

    assert one.answer("a.ok.com", "203.0.113.7").expects(Reply).reply.addresses == []


def test_aliases_go_the_long_way() -> None:
    one = play()
    one.query("www.ok.com")

    heard = one.answer("www.ok.com", "203.0.113.7", via=["cdn.ok.com"]).expects(OpenThenReply)
    assert heard.reply.owners == ["www.ok.com", "cdn.ok.com"]


def test_a_rule_that_is_full_and_names_with_two_pieces_go_the_long_way() -> None:
    one = play()
    one.query("www.many.com")
    heard = one.answer("www.many.com", "203.0.113.1", "203.0.113.2", "203.0.113.3")
    assert len(heard.expects(OpenThenReply).reply.addresses) == 2

    one.query("a.two.com")
    one.answer("a.two.com", "203.0.113.9").expects(OpenThenReply)
    assert one.lets("203.0.113.9", port=80)
    assert one.lets("203.0.113.9", port=443)


def test_another_policy_judges_what_is_in_flight() -> None:
    """Promise 7, and 1: a question that was let through is not answered when it is refused now."""
    one = play()
    one.query("www.ok.com")
    assert short(one) == 1

    one.swap("version: 1\ndefault: deny\ndns: {upstreams: [192.0.2.53]}\n").expects(Reply)
    assert short(one) == 0


def test_a_lockdown_ends_what_is_in_flight_and_nothing_is_asked() -> None:
    one = play()
    one.query("www.ok.com")

    one.does(one.engine.set_lockdown(Lockdown.ON, one.now)).expects(Reply)
    one.query("b.ok.com").expects(Reply)
    assert short(one) == 0
    one.does(one.engine.set_lockdown(Lockdown.OFF, one.now))
    one.query("b.ok.com").expects(Ask)
    assert short(one) == 1


def test_an_upstream_that_says_nothing_is_asked_again_as_ever() -> None:
    one = play()
    one.query("www.ok.com").expects(Ask)

    one.after(0.9).expects(Ask)
    assert short(one) == 0
    one.answer("www.ok.com", "203.0.113.7").expects(OpenThenReply)


def test_while_an_upstream_fails_all_go_the_long_way() -> None:
    one = play(upstreams=2)
    one.query("www.ok.com").expects(Ask)
    one.after(0.9).expects(Ask)
    one.query("b.ok.com")

    assert short(one) == 0
    one.forget()


def test_answers_that_are_junk_do_not_end_a_question() -> None:
    """Row 78."""
    one = play()
    ask = one.query("www.ok.com").expects(Ask).ask

    one.upstream(ask, b"junk").nothing()
    one.says(ask, rr("www.ok.com", "A", "203.0.113.7")).expects(OpenThenReply)


def test_a_write_that_fails_is_undone() -> None:
    """Promise 1."""
    one = play()
    one.query("www.ok.com")
    one.kernel.refuses = 1

    heard = one.answer("www.ok.com", "203.0.113.7").expects(OpenThenReply, Close, Reply)
    assert [h.rcode for h in heard.heard] == ["SERVFAIL"]
    assert not one.lets("203.0.113.7")


def test_the_memory_of_judgements_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "_MOST_PLANS", 2)
    one = play()
    for name in ("a.ok.com", "www.ok.net", "a.many.com", "a.two.com"):
        one.query(name).expects(Ask)

    (role,) = one.engine._fresh._roles.values()
    assert len(role.plans) <= 2


def test_who_asks_what_another_has_asked_the_long_way_waits_with_him() -> None:
    one = play()
    one.query("www.ok.com", client=1, tcp=True).expects(Ask)
    one.query("www.ok.com", client=2).nothing()

    heard = one.answer("www.ok.com", "203.0.113.7").expects(OpenThenReply).heard
    assert [h.client.route for h in heard] == [1, 2]
