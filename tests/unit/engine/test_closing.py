"""The timetable of closing look-ups."""

from __future__ import annotations

from dnsfw.engine.closing import Closing, Closings
from dnsfw.engine.limits import Limits
from dnsfw.model import HOST, SECOND, Nanos
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.wire.name import from_text

NOW = Nanos(1000 * SECOND)


def policy(*rules: str) -> Policy:
    return compile_text(
        "version: 1\ndefault: allow\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    )


def after(seconds: float) -> Nanos:
    return Nanos(NOW + round(seconds * SECOND))


def loaded(*rules: str, **limits: int) -> Closings:
    closings = Closings(Limits(**limits))
    closings.load(policy(*rules), NOW)
    return closings


ADS = Closing(HOST, from_text("ads.net"), 1)
ADS6 = Closing(HOST, from_text("ads.net"), 28)


def test_exact_names_and_apexes_are_due_at_once_in_both_families() -> None:
    closings = loaded("deny: ads.net", 'deny: ".apex.net"', 'deny: "*.wild.net"')

    names = {(item.name, item.qtype) for item in closings.take(NOW)}

    assert names == {(from_text(n), t) for n in ("ads.net", "apex.net") for t in (1, 28)}


def test_what_was_found_comes_again_after_its_ttl() -> None:
    closings = loaded("deny: ads.net")
    list(closings.take(NOW))
    closings.found(ADS, 30, NOW)
    closings.found(ADS6, 0, NOW)

    assert closings.next_due() == after(30)
    assert list(closings.take(after(29))) == []
    assert list(closings.take(after(30))) == [ADS]
    assert closings.next_due() == after(60)


def test_a_failure_is_tried_again_later_and_later() -> None:
    closings = loaded("deny: ads.net")
    now, waits = NOW, []
    for _ in range(9):
        taken = list(closings.take(now))
        assert ADS in taken
        for item in taken:
            closings.failed(item, now)
        due = closings.next_due()
        assert due is not None
        waits.append((due - now) // SECOND)
        now = due

    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_few_fly_at_once() -> None:
    closings = loaded(*(f"deny: n{n}.net" for n in range(10)), closings_at_once=3)

    flying = list(closings.take(NOW))

    assert len(flying) == 3 and closings.next_due() is None
    closings.found(flying[0], 60, NOW)
    assert closings.next_due() == NOW
    assert len(list(closings.take(NOW))) == 1


def test_a_reload_keeps_the_times_of_names_that_stay_and_drops_the_others() -> None:
    closings = loaded("deny: ads.net", "deny: gone.net")
    for item in list(closings.take(NOW)):
        closings.found(item, 30, NOW)

    closings.load(policy("deny: ads.net", "deny: new.net"), after(1))

    assert {item.name for item in closings.take(after(1))} == {from_text("new.net")}
    assert {item.name for item in closings.take(after(30))} == {from_text("ads.net")}
    assert ADS in closings and Closing(HOST, from_text("gone.net"), 1) not in closings


def test_more_names_than_the_limit_are_left_out_and_counted() -> None:
    closings = loaded(*(f"deny: n{n}.net" for n in range(5)), closings=3)

    assert len(closings) == 6 and closings.left_out == 2


def asked(closings: Closings, text: str, rule: str = '{deny: "*.ads.net", close: asked}') -> bool:
    name = from_text(text)
    return closings.ask(HOST, name, policy(rule).host.rules[0], NOW)


def test_asked_names_need_the_option_and_short_labels() -> None:
    """Promise 7."""
    closings = loaded("deny: other.net")

    assert asked(closings, "x.ads.net")
    assert not asked(closings, "y.ads.net", 'deny: "*.ads.net"')
    assert asked(closings, f"{'s' * 32}.ads.net")
    assert not asked(closings, f"{'s' * 33}.ads.net")
    assert not asked(closings, f"{'s' * 33}.x.ads.net")


def test_asked_names_are_counted_by_rule_and_minute() -> None:
    closings = loaded("deny: other.net", asked_a_minute=2)
    rule = policy('{deny: "*.ads.net", close: asked}').host.rules[0]

    def ask(n: int, now: Nanos) -> bool:
        return closings.ask(HOST, from_text(f"n{n}.ads.net"), rule, now)

    assert [ask(n, NOW) for n in range(4)] == [True, True, False, False]
    assert not ask(5, after(59))
    assert ask(6, after(60))


def test_an_asked_name_is_not_looked_up_again_while_it_is_closed() -> None:
    closings = loaded("deny: other.net")
    assert asked(closings, "x.ads.net") and not asked(closings, "x.ads.net")
    items = [i for i in closings.take(NOW) if i.name == from_text("x.ads.net")]
    for item in items:
        closings.found(item, 30, NOW)
    rule = policy('{deny: "*.ads.net", close: asked}').host.rules[0]

    assert not closings.ask(HOST, from_text("x.ads.net"), rule, after(29))
    assert closings.ask(HOST, from_text("x.ads.net"), rule, after(60))


def test_an_asked_name_is_not_renewed_by_itself() -> None:
    closings = loaded('{deny: "*.ads.net", close: asked}')
    asked(closings, "x.ads.net")
    for item in list(closings.take(NOW)):
        closings.found(item, 30, NOW)

    assert closings.next_due() is None
