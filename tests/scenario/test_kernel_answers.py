"""What the kernel may answer by itself: offered, renewed, and taken back first (promise 2)."""

from __future__ import annotations

import pytest

from dnsfw.engine.cache import CacheKey
from dnsfw.engine.effects import Ask, Close, OpenThenReply, Publish, Reply, Withdraw
from dnsfw.engine.limits import Limits
from dnsfw.model import HOST, SECOND, Lockdown, Nanos, addr_from
from tests.support.play import Play, begin, rr

ALLOW = "version: 1\ndefault: deny\nrules: [allow: '*.example.com:443']\n"
DNS = "dns: {upstreams: [192.0.2.53]}\n"
WWW = "www.example.com"


@pytest.fixture
def play() -> Play:
    return begin(ALLOW + DNS, publishes=True)


def known(play: Play, name: str = WWW, ttl: int = 60) -> CacheKey:
    """A name that the kernel answers."""
    play.query(name).expects(Ask)
    play.answer(name, "192.0.2.7", ttl=ttl).expects(OpenThenReply)
    (publish,) = [e for e in play.query(name).expects(Reply, Publish).effects if _is(e)]
    return publish.key


def _is(effect: object) -> bool:
    return isinstance(effect, Publish)


def test_a_name_that_is_asked_once_never_reaches_the_kernels_table(play: Play) -> None:
    for n in range(50):
        play.query(f"r{n}.example.com").expects(Ask)
        play.answer(f"r{n}.example.com", "192.0.2.7").expects(OpenThenReply)

    assert not play.published


def test_the_second_ask_offers_it_once(play: Play) -> None:
    known(play)

    play.query(WWW).expects(Reply)
    heard = play.kernel_answer(WWW)

    assert heard is not None and [r.ttl for r in heard.answers] == [60]


def test_a_refusal_is_offered_like_an_answer(play: Play) -> None:
    play.query("evil.net").expects(Reply)
    play.query("evil.net").expects(Reply, Publish)

    assert play.query("evil.net").expects(Reply).reply.rcode == "NXDOMAIN"
    (published,) = play.published.values()
    assert published.note is not None and published.note.kind == "refused"


def test_a_kernel_without_answers_is_offered_nothing() -> None:
    play = begin(ALLOW + DNS)
    play.query(WWW).expects(Ask)
    play.answer(WWW, "192.0.2.7").expects(OpenThenReply)
    play.query(WWW).expects(Reply)

    play.swap(ALLOW.replace("443", "22") + DNS).expects(Close)


def test_a_reload_takes_every_answer_back_before_it_closes_anything(play: Play) -> None:
    known(play)

    play.swap("version: 1\ndefault: deny\nrules: [allow: other.org]\n" + DNS).expects(
        Withdraw, Close
    )

    assert play.kernel_answer(WWW) is None


def test_a_lockdown_takes_every_answer_back(play: Play) -> None:
    known(play)

    play.does(play.engine.set_lockdown(Lockdown.ON, play.now)).expects(Withdraw)


def test_a_lockdown_that_never_was_leaves_what_an_earlier_process_published(play: Play) -> None:
    assert play.engine.set_lockdown(Lockdown.OFF, play.now) == []


def test_an_address_of_this_host_takes_every_answer_back(play: Play) -> None:
    known(play)
    mine = [addr_from("192.0.2.7")]

    play.does(play.engine.set_own_addresses(mine)).expects(Withdraw)
    play.does(play.engine.set_own_addresses(mine)).nothing()


def test_a_failed_write_takes_every_answer_back_and_publishes_nothing(play: Play) -> None:
    key = known(play)
    play.after(seconds=50)
    play.does(play.engine.renew(key, play.published[key].until, play.now) or []).expects(Ask)
    play.kernel.refuses = 1

    scene = play.says(play.asking(WWW), rr(WWW, "A", "192.0.2.9", 60))

    scene.expects(OpenThenReply, Withdraw, Close)
    assert not play.published


def test_an_address_that_a_denied_name_shuts_is_taken_back_first() -> None:
    play = begin(
        "version: 1\ndefault: allow\nrules: [{deny: ads.net, shared: deny}]\n" + DNS,
        publishes=True,
    )
    play.after(seconds=0.1).expects(Ask, Ask)
    play.says(play.asking("ads.net", "AAAA"), rcode=3).nothing()
    known(play)

    scene = play.says(play.asking("ads.net"), rr("ads.net", "A", "192.0.2.7", 60))

    scene.expects(Withdraw, Close)
    assert play.kernel_answer(WWW) is None


def test_answers_in_audit_are_never_published() -> None:
    """An audit may end by the kernel's clock, and then what it let pass is closed."""
    play = begin("mode: audit\n" + ALLOW + DNS, publishes=True)
    for name in (WWW, "evil.net"):
        play.query(name).expects(Ask)
        play.says(play.asking(name), rr(name, "A", "192.0.2.7", 60))
        play.query(name).expects(Reply)


def test_an_answer_with_an_address_that_no_grant_holds_is_never_published() -> None:
    """Under `default: allow` it passes, until a denied name closes it: nobody would notice."""
    play = begin(
        "version: 1\ndefault: allow\nrules: [deny: ads.net]\n" + DNS,
        publishes=True,
        limits=Limits(grants=1),
    )
    play.after(seconds=0.1).expects(Ask, Ask)
    play.query(WWW).expects(Ask)
    play.answer(WWW, "192.0.2.7", "192.0.2.8").expects(OpenThenReply)
    play.query(WWW).expects(OpenThenReply)
    play.query(WWW).expects(OpenThenReply)
    assert not play.published


def test_an_address_that_a_denied_name_closed_is_opened_again_before_it_is_told() -> None:
    """The table was full when it was told first; the closing took the room that came free, and
    nothing that was ready must be told as it was.
    """
    play = begin(
        "version: 1\ndefault: allow\nrules: [{deny: '*.ads.net', close: asked}]\n" + DNS,
        limits=Limits(grants=1),
    )
    play.query("first.org").expects(Ask)
    play.answer("first.org", "192.0.2.1", ttl=5).expects(OpenThenReply)
    play.query(WWW).expects(Ask)
    play.answer(WWW, "192.0.2.7", ttl=300)
    play.query(WWW)
    play.after(seconds=20)
    play.query("x.ads.net").expects(Reply)
    play.after(seconds=0.1)
    play.says(play.asking("x.ads.net"), rr("x.ads.net", "A", "192.0.2.7", 60))
    play.unexpected.clear()

    assert not play.lets("192.0.2.7")

    assert play.query(WWW).expects(OpenThenReply).reply.addresses == ["192.0.2.7"]
    assert play.lets("192.0.2.7")


# --- renewal ---


def test_an_answer_in_use_is_asked_anew_and_takes_the_place_of_the_old(play: Play) -> None:
    key = known(play)
    play.after(seconds=55)

    until = play.published[key].until
    play.does(play.engine.renew(key, until, play.now) or []).expects(Ask)
    play.answer(WWW, "192.0.2.7", ttl=60).expects(OpenThenReply)

    play.after(seconds=10)  # the first one would have ended
    heard = play.kernel_answer(WWW)
    assert heard is not None and [r.ttl for r in heard.answers] == [50]
    assert play.published[key].until == until + 55 * SECOND


def test_a_new_address_is_opened_before_the_kernel_tells_it(play: Play) -> None:
    key = known(play)
    play.after(seconds=55)
    play.does(play.engine.renew(key, play.published[key].until, play.now) or []).expects(Ask)

    scene = play.answer(WWW, "192.0.2.99", ttl=60).expects(OpenThenReply)

    (opened,) = [e for e in scene.effects if isinstance(e, OpenThenReply)]
    assert opened.entries and [p.key for p in opened.publish] == [key]


def test_what_somebody_else_had_asked_meanwhile_is_published_as_it_is(play: Play) -> None:
    key = known(play, ttl=20)
    until = play.published[key].until
    play.after(seconds=21)
    play.query(WWW).expects(Ask)
    play.answer(WWW, "192.0.2.7", ttl=60).expects(OpenThenReply)

    play.does(play.engine.renew(key, until, play.now) or []).expects(Publish)
    play.does(play.engine.renew(key, until, play.now) or []).nothing()


def test_who_misses_the_old_answer_is_told_what_its_renewal_brings(play: Play) -> None:
    """Not what his own question brings, which was asked later: a name in use does not wait."""
    key = known(play)
    play.after(seconds=59)
    play.does(play.engine.renew(key, play.published[key].until, play.now) or []).expects(Ask)
    renewal = play.asking(WWW)
    play.after(seconds=1.5)
    own = play.query(WWW).expects(Ask).ask
    other = play.query(WWW, client="another").effects

    scene = play.says(renewal, rr(WWW, "A", "192.0.2.99", ttl=60)).expects(OpenThenReply)

    assert [heard.addresses for heard in scene.heard] == [["192.0.2.99"]] * 2
    assert [e.publish[0].key for e in scene.effects if isinstance(e, OpenThenReply)] == [key]
    assert other == []
    play.says(own, rr(WWW, "A", "192.0.2.99", ttl=60)).nothing()
    assert not len(play.engine._lookups.table)


def test_a_renewal_that_fails_leaves_the_answer_to_its_end(play: Play) -> None:
    key = known(play)
    play.after(seconds=50)
    play.does(play.engine.renew(key, play.published[key].until, play.now) or []).expects(Ask)
    play.breaks(play.asking(WWW)).nothing()

    assert play.kernel_answer(WWW) is not None
    play.after(seconds=10)
    assert play.kernel_answer(WWW) is None
    play.query(WWW).expects(Ask)  # a client is told nothing of that failure
    play.answer(WWW, "192.0.2.7").expects(OpenThenReply)


@pytest.mark.parametrize("what", ["denied", "lockdown", "role"])
def test_what_nobody_may_ask_for_is_not_asked_anew(play: Play, what: str) -> None:
    key = known(play)
    if what == "denied":
        play.swap("version: 1\ndefault: deny\nrules: [allow: o.org]\n" + DNS)
    elif what == "lockdown":
        play.does(play.engine.set_lockdown(Lockdown.ON, play.now))
    else:
        key = key._replace(role=HOST + 9)
    play.unexpected.clear()

    assert play.engine.renew(key, Nanos(0), play.now) == []


def test_a_reload_ends_the_renewals_under_way_and_no_other_upstream_is_asked() -> None:
    play = begin(ALLOW + DNS, upstreams=2, publishes=True)
    key = known(play)
    play.after(seconds=50)
    play.does(play.engine.renew(key, play.published[key].until, play.now) or []).expects(Ask)

    play.swap("version: 1\ndefault: deny\nrules: [allow: o.org]\n" + DNS).expects(Withdraw, Close)
    play.after(seconds=5).nothing()

    assert not play.open_asks


def test_only_so_many_are_asked_at_once() -> None:
    play = begin(ALLOW + DNS, publishes=True, limits=Limits(renewals_at_once=1))
    one, two = known(play), known(play, "two.example.com")
    play.after(seconds=50)

    play.does(play.engine.renew(one, play.published[one].until, play.now) or []).expects(Ask)
    assert play.engine.renew(two, play.published[two].until, play.now) is None

    play.answer(WWW, "192.0.2.7").expects(OpenThenReply)
    assert play.engine.renew(two, play.published[two].until, play.now)


def test_what_the_kernel_has_no_room_for_is_offered_again(play: Play) -> None:
    key = known(play)
    play.published.clear()
    play.engine.unpublished(key)

    play.query(WWW).expects(Reply, Publish)
