"""Queries answered in the kernel, one packet at a time, at every place where it answers.

What is not plain goes on to the daemon, unchanged, and a counter says why.
"""

from __future__ import annotations

import struct

import pytest

from dnsfw.datapath import answers
from dnsfw.datapath.abi import Fall
from dnsfw.datapath.answers import AnswerKey
from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.stages import set_stages
from dnsfw.model import HOST, SECOND, Inbound, Lockdown, Name, Nanos, RoleId, RolePlan
from dnsfw.wire.codes import AD, CD, IN, RD
from dnsfw.wire.name import from_text
from dnsfw.wire.query import peek
from dnsfw.wire.record import Record
from dnsfw.wire.reply import Template, soa
from tests.support.kernel_answers import (
    GUEST,
    GUEST4,
    HERE4,
    INSIDE,
    LO,
    LO_STAGE,
    PORT,
    WAYS,
    XDP,
    Kitchen,
    Told,
    Way,
    answer_of,
    as_wire,
    name_of,
    opt_record,
    question,
    with_check,
)
from tests.support.packets import IP4, IP6, UDP, Cut, DestOptions, Ether, Fragment, ones_sum
from tests.support.wall import ALLOW, DENY, MAIL, WEB, Wall, boottime

NAME = "www.Example.com"
WIRE = from_text(NAME)
BOTH = pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
WIRES = [way for way in WAYS if way.wire]
NO_COOKIE = "packet hooks do not tell namespaces here (before Linux 6.15)"


def records(count: int = 2, ttl: int = 300, name: Name = WIRE) -> list[Record]:
    return [Record(name, 1, IN, ttl + i, bytes([192, 0, 2, i])) for i in range(count)]


def addresses(count: int = 2, *, name: Name = WIRE, **more: object) -> Template:
    return Template(name, 0, records(count, name=name), **more)  # type: ignore[arg-type]


REFUSED = Template(WIRE, 3, authority=[soa(WIRE, 60)], ede=(15, "rule 0badcafe"))


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest, loaded: Loaded) -> Way:
    if request.param is INSIDE and not loaded.netns_cookie:
        pytest.skip(NO_COOKIE)
    return request.param  # type: ignore[no-any-return]


# where there are Ethernet headers
LINKS = pytest.mark.parametrize("way", [way for way in WAYS if way.link], ids=str, indirect=True)


@pytest.fixture(params=WIRES, ids=str)
def wire(request: pytest.FixtureRequest) -> Way:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def kitchen(wall: Wall) -> Kitchen:
    return Kitchen(wall)


def rendered(template: Template, query: bytes, age: int = 0) -> bytes:
    asked = peek(query)
    assert asked is not None
    return template.render(asked, age)


# what is answered


@BOTH
def test_a_question_that_was_asked_before_is_answered_as_the_daemon_would(
    kitchen: Kitchen, way: Way, v6: bool
) -> None:
    told = addresses()
    kitchen.publish(told, NAME, age=4.5)
    query = question("WwW.eXAMPLE.CoM", id=0xBEEF)

    reply = kitchen.ask(way, query, v6=v6)

    assert reply is not None
    assert reply.checked().dns == rendered(told, query, age=5)
    assert query[12:-4] in reply.dns, "the question as it was asked, case and all"
    assert reply.addresses == (way.to(v6), way.by(v6))
    assert reply.ports == (53, PORT)
    assert kitchen.falls() == {Fall.ANSWERED: 1}


@LINKS
def test_macs_change_places(kitchen: Kitchen, way: Way) -> None:
    kitchen.publish(addresses(), NAME)
    asked = as_wire(way, IP4(way.to(False), with_check(
        UDP(53, question(NAME)), way.by(False), way.to(False)), src=way.by(False)))  # fmt: skip

    reply = kitchen.run(way, asked)

    assert reply is not None
    assert reply.frame[:14] == asked[6:12] + asked[:6] + b"\x08\0"


@pytest.mark.parametrize(
    "opt",
    [b"", opt_record(), opt_record(512), opt_record(100), opt_record(4096, do=True)],
    ids=lambda o: o.hex()[6:18],
)
@pytest.mark.parametrize("flags", [RD, RD | CD, RD | AD, RD | AD | CD], ids=hex)
def test_flags_and_opt_are_echoed_as_the_daemon_does(
    kitchen: Kitchen, way: Way, opt: bytes, flags: int
) -> None:
    told = addresses(ad=True, aa=True)
    do = bool(opt) and opt[7] & 0x80 == 0x80
    kitchen.publish(told, NAME, do=do, cd=bool(flags & CD))
    query = question(NAME, flags=flags, opt=opt)

    reply = kitchen.ask(way, query)

    assert reply is not None and reply.checked().dns == rendered(told, query)


@pytest.mark.parametrize("template", [
    pytest.param(REFUSED, id="nxdomain with an Extended DNS Error"),
    pytest.param(Template(WIRE, 16 + 7, ede=(3, "x")), id="an rcode that needs an OPT"),
    pytest.param(Template(WIRE, 0), id="nothing at all"),
])  # fmt: skip
@pytest.mark.parametrize("opt", [b"", opt_record(), opt_record(do=True)])
def test_refusals_say_why_to_who_can_hear_it(
    kitchen: Kitchen, way: Way, template: Template, opt: bytes
) -> None:
    kitchen.publish(template, NAME, do=bool(opt and opt[7]), refusal=True, age=1000)
    query = question(NAME, opt=opt)

    reply = kitchen.ask(way, query)

    assert reply is not None and reply.checked().dns == rendered(template, query)
    assert kitchen.falls() == {Fall.REFUSED: 1}
    assert kitchen.table.role_counters()[WEB].refused == 1


@pytest.mark.parametrize(
    ("age", "shown"), [(0.0, 1), (0.3, 1), (5.5, 6), (299.5, 300), (999.5, 1000)]
)
def test_ttls_count_down_and_end_at_zero(
    kitchen: Kitchen, way: Way, age: float, shown: int
) -> None:
    told = addresses(3)
    kitchen.publish(told, NAME, age=age)
    query = question(NAME, opt=opt_record())

    reply = kitchen.ask(way, query)

    assert reply is not None and reply.checked().dns == rendered(told, query, shown)


def test_an_answer_of_a_moment_to_come_is_not_aged(kitchen: Kitchen) -> None:
    told = addresses()
    kitchen.publish(told, NAME, age=-5)

    reply = kitchen.ask(LO, question(NAME))

    assert reply is not None and reply.dns == rendered(told, question(NAME))


@pytest.mark.parametrize("length", [1, 3, 8, 50, 60, 61, 62, 63, 64, 65, 66, 71, 72, 100,
                                    128, 200, 253, 254, 255])  # fmt: skip
@BOTH
def test_names_of_every_length_odd_and_even(
    kitchen: Kitchen, way: Way, length: int, v6: bool
) -> None:
    name = name_of(length)
    told = addresses(3, name=name)
    kitchen.publish(told, name)
    query = question(Name(name.upper()), opt=opt_record())

    reply = kitchen.ask(way, query, v6=v6)

    assert reply is not None and reply.checked().dns == rendered(told, query)


def test_only_letters_have_two_cases(kitchen: Kitchen) -> None:
    """What stands beside A, Z, a and z, and the upper half, are octets like others."""
    for octet in (*range(0x3E, 0x44), *range(0x58, 0x63), *range(0x78, 0x7E), 0xC1, 0xDA, 0xFF):
        folded = Name(bytes([3, 120, octet, 120, 0]).lower())
        key = kitchen.publish(addresses(name=folded), folded)
        for other in range(256):
            reply = kitchen.ask(LO, question(Name(bytes([3, 88, other, 88, 0]))))
            assert (reply is not None) is (bytes([other]).lower() == bytes([octet]).lower())
        kitchen.table.delete(key)


@pytest.mark.parametrize(("count", "opt", "cut"), [
    (28, b"", False), (30, b"", True), (30, opt_record(512), True), (30, opt_record(800), False),
    (70, opt_record(1232), False), (74, opt_record(1232), True), (74, opt_record(65535), True),
    (70, opt_record(1231), False), (70, b"", True), (8, opt_record(100), False),
    (74, opt_record(4096), True),
])  # fmt: skip
@BOTH
def test_row_93_what_does_not_fit_is_truncated_as_the_daemon_does(
    kitchen: Kitchen, way: Way, count: int, opt: bytes, cut: bool, v6: bool
) -> None:
    told = addresses(count, ede=(3, "stale"))
    kitchen.publish(told, NAME)
    query = question(NAME, opt=opt)

    reply = kitchen.ask(way, query, v6=v6)

    assert reply is not None and reply.checked().dns == rendered(told, query)
    assert bool(reply.dns[2] & 2) is cut


def test_row_104_the_limit_counts_to_the_octet(kitchen: Kitchen) -> None:
    """The largest reply that fits, and one octet more, for a client of every size."""
    for size in (512, 513, 700, 1231, 1232):
        for over in (0, 1):
            rest = size + over - 12 - len(WIRE) - 4 - 11 - 12
            told = Template(WIRE, 0, [Record(WIRE, 16, IN, 5, bytes(rest))])
            kitchen.publish(told, NAME, 16)
            query = question(NAME, 16, opt=opt_record(size))

            reply = kitchen.ask(LO, query)

            assert reply is not None and reply.checked().dns == rendered(told, query)
            assert len(reply.dns) == (size if not over else 12 + len(WIRE) + 4 + 11)


# checksums


@BOTH
def test_a_query_without_a_checksum_is_answered_with_one(
    kitchen: Kitchen, wire: Way, v6: bool
) -> None:
    kitchen.publish(addresses(), NAME)

    reply = kitchen.ask(wire, question(NAME), v6=v6, sums="none")

    if v6:
        assert reply is None
        assert kitchen.falls()[Fall.CHECKSUM] == 1
    else:
        assert reply is not None and reply.checked()


@BOTH
def test_a_broken_checksum_is_for_the_kernel_to_drop(kitchen: Kitchen, wire: Way, v6: bool) -> None:
    kitchen.publish(addresses(), NAME)

    assert kitchen.ask(wire, question(NAME), v6=v6, sums="bad") is None
    assert kitchen.falls() == {Fall.CHECKSUM: 1}


def test_a_header_with_a_broken_checksum_is_for_the_kernel_to_drop(
    kitchen: Kitchen, wire: Way
) -> None:
    """Nobody has looked at it before; RFC 1122, 3.2.1.2, says that it is told nothing."""
    kitchen.publish(addresses(), NAME)
    to, by = wire.to(False), wire.by(False)
    frame = bytearray(as_wire(wire, IP4(to, with_check(UDP(53, question(NAME)), by, to), src=by)))
    frame[14 * wire.link + 8] ^= 1  # hops, which no other sum holds

    assert kitchen.run(wire, bytes(frame)) is None
    assert kitchen.falls() == {Fall.CHECKSUM: 1}


@BOTH
def test_who_leaves_checksums_to_a_device_gets_the_same_back(
    kitchen: Kitchen, wire: Way, v6: bool
) -> None:
    """The frame still says that the rest is to be added; a driver would add it once more."""
    kitchen.publish(addresses(), NAME)

    reply = kitchen.ask(wire, question(NAME), v6=v6, sums="begun")

    assert reply is not None
    if wire.xdp:  # that drops what the frame said
        reply.checked()
    else:
        assert reply.check == ones_sum(reply.pseudo)


def test_checksums_hold_for_any_id_port_and_ttl(kitchen: Kitchen) -> None:
    """Every carry: sums of 0 and ffff among them."""
    kitchen.publish(addresses(), NAME)
    seen = set()
    for id in range(0, 0x10000, 97):
        reply = kitchen.ask(LO, question(NAME, id=id), sport=1 + id % 65535, v6=bool(id & 1))
        assert reply is not None
        seen.add(reply.checked().check)
    assert len(seen) > 600


@BOTH
def test_a_checksum_that_comes_to_nothing_is_all_ones(kitchen: Kitchen, way: Way, v6: bool) -> None:
    """0 would say that there is none (RFC 768; over IPv6 it may not be)."""
    kitchen.publish(addresses(), NAME)
    first = kitchen.ask(way, question(NAME, id=0), v6=v6)
    assert first is not None

    reply = kitchen.ask(way, question(NAME, id=first.check), v6=v6)

    assert reply is not None and reply.checked().check == 0xFFFF


# who is answered


def test_row_68_another_role_has_other_answers(kitchen: Kitchen, way: Way) -> None:
    kitchen.publish(addresses(), NAME, role=MAIL)

    assert kitchen.ask(way, question(NAME)) is None
    assert kitchen.falls() == {Fall.MISS: 1}
    assert kitchen.ask(way, question(NAME), role=MAIL) is not None


@pytest.mark.parametrize("lockdown", [Lockdown.ON, Lockdown.HARD])
def test_lockdown_answers_nobody(
    kitchen: Kitchen, wall: Wall, way: Way, lockdown: Lockdown
) -> None:
    kitchen.publish(addresses(), NAME)
    wall.policy(ALLOW, others=[RolePlan(WEB, DENY)], lockdown=lockdown)

    assert kitchen.ask(way, question(NAME)) is None
    assert kitchen.falls() == {Fall.LOCKDOWN: 1}

    wall.policy(ALLOW, others=[RolePlan(WEB, DENY)])
    assert kitchen.ask(way, question(NAME)) is not None


def test_a_role_that_nobody_set_is_answered_nothing(kitchen: Kitchen, wall: Wall, way: Way) -> None:
    role = RoleId(40)
    kitchen.publish(addresses(), NAME, role=role)

    assert kitchen.ask(way, question(NAME), role=role) is None
    assert kitchen.falls() == {Fall.ROLE: 1}


def test_row_108_withdrawn_is_withdrawn_in_one_store(kitchen: Kitchen, way: Way) -> None:
    told = addresses()
    kitchen.publish(told, NAME)
    assert kitchen.ask(way, question(NAME)) is not None

    kitchen.table.withdraw()

    assert kitchen.ask(way, question(NAME)) is None
    assert kitchen.falls() == {Fall.ANSWERED: 1, Fall.EPOCH: 1}
    kitchen.publish(told, NAME)
    assert kitchen.ask(way, question(NAME)) is not None


def test_row_108_an_answer_ends_at_its_deadline(kitchen: Kitchen, way: Way) -> None:
    kitchen.publish(addresses(), NAME, left=-0.001)

    assert kitchen.ask(way, question(NAME)) is None
    assert kitchen.falls() == {Fall.EXPIRED: 1}


def test_switched_off_it_answers_nothing(kitchen: Kitchen, way: Way) -> None:
    kitchen.publish(addresses(), NAME)
    kitchen.table.switch(answers=False)

    assert kitchen.ask(way, question(NAME)) is None
    assert kitchen.falls() == {Fall.OFF: 1}


def test_hits_are_counted_for_who_renews_and_evicts(kitchen: Kitchen, way: Way) -> None:
    keys = [
        kitchen.publish(addresses(), NAME),
        kitchen.publish(addresses(60), "big.example"),
        kitchen.publish(addresses(name=name_of(90)), name_of(90)),
    ]
    for count, key in enumerate(keys, 1):
        for _ in range(count):
            assert kitchen.ask(way, question(key.name, opt=opt_record())) is not None

    assert [kitchen.table.hits(key) for key in keys] == [1, 2, 3]
    assert kitchen.table.role_counters()[WEB].answered == 6


def test_a_hash_alone_serves_nobody(kitchen: Kitchen, way: Way) -> None:
    """An entry that lies where another question's would, with a seal that fits there."""
    told = addresses()
    now = boottime()
    rows = {qtype: AnswerKey(WEB, WIRE, qtype) for qtype in (1, 28)}
    mine, other = (kitchen.table.hash(key) for key in rows.values())
    answer = answer_of(told, Nanos(now), Nanos(now + 60 * SECOND))
    for key in (rows[28], rows[1]._replace(name=Name(WIRE[:-1] + b"\1"))):
        raw, value = kitchen.table.encode(key, answer, answers._SMALL)
        seal = int.from_bytes(value[8:16], "little") - int.from_bytes(raw, "little")
        seal = seal + int.from_bytes(mine, "little") & (1 << 64) - 1
        value = value[:8] + seal.to_bytes(8, "little") + value[16:]
        kitchen.wall.table("dnsfw_answers").update(mine, value)

        assert kitchen.ask(way, question(NAME)) is None
    assert kitchen.falls() == {Fall.MISS: 2}
    kitchen.publish(told, NAME)
    assert kitchen.ask(way, question(NAME)) is not None
    assert kitchen.ask(way, question(NAME, 28)) is None, other


def test_a_deleted_answer_is_a_miss(kitchen: Kitchen, way: Way) -> None:
    key = kitchen.publish(addresses(), NAME)
    kitchen.table.delete(key)

    assert kitchen.ask(way, question(NAME)) is None
    assert kitchen.falls() == {Fall.MISS: 1}
    assert kitchen.table.role_counters()[WEB].fell == 1


# what goes on to the daemon


PAD = struct.pack("!HH", 12, 4) + bytes(4)
COOKIE = struct.pack("!HH", 10, 8) + bytes(8)


@pytest.mark.parametrize(("query", "why"), [
    pytest.param(question(NAME, flags=0), Fall.HEADER, id="no RD"),
    pytest.param(question(NAME, flags=RD | 0x8000), Fall.HEADER, id="an answer"),
    pytest.param(question(NAME, flags=RD | 0x2800), Fall.HEADER, id="an update"),
    pytest.param(question(NAME, flags=RD | 0x0200), Fall.HEADER, id="truncated"),
    pytest.param(question(NAME, flags=RD | 0x0400), Fall.HEADER, id="authoritative"),
    pytest.param(question(NAME, flags=RD | 0x0040), Fall.HEADER, id="the reserved bit"),
    pytest.param(question(NAME, flags=RD | 0x0080), Fall.HEADER, id="RA"),
    pytest.param(question(NAME, flags=RD | 3), Fall.HEADER, id="an rcode"),
    pytest.param(question(NAME, counts=(2, 0, 0)), Fall.HEADER, id="QDCOUNT 2"),
    pytest.param(question(NAME, counts=(0, 0, 0)), Fall.HEADER, id="QDCOUNT 0"),
    pytest.param(question(NAME, counts=(257, 0, 0)), Fall.HEADER, id="QDCOUNT 257"),
    pytest.param(question(NAME, counts=(1, 1, 0)), Fall.HEADER, id="an answer record"),
    pytest.param(question(NAME, counts=(1, 0, 1)), Fall.HEADER, id="an authority record"),
    pytest.param(question(NAME)[:10] + b"\0\2" + question(NAME)[12:], Fall.HEADER, id="ARCOUNT 2"),
    pytest.param(question(NAME, qclass=3), Fall.CLASS, id="class CH"),
    pytest.param(question(NAME, qclass=255), Fall.CLASS, id="class ANY"),
    pytest.param(question(NAME, opt=opt_record(rdata=COOKIE)), Fall.OPT, id="a cookie"),
    pytest.param(question(NAME, opt=opt_record(rdata=PAD)), Fall.OPT, id="padding"),
    pytest.param(question(NAME, opt=opt_record(version=1)), Fall.OPT, id="EDNS version 1"),
    pytest.param(question(NAME, opt=opt_record(flags=0x4000)), Fall.OPT, id="an unknown flag"),
    pytest.param(question(NAME, opt=opt_record(flags=1)), Fall.OPT, id="another unknown flag"),
    pytest.param(question(NAME, opt=opt_record(high=1)), Fall.OPT, id="an rcode in the OPT"),
    pytest.param(question(NAME, opt=b"\1" + opt_record()[1:]), Fall.OPT, id="an OPT with an owner"),
    pytest.param(question(NAME, opt=b"\0\0\x2a" + opt_record()[3:]), Fall.OPT, id="no OPT at all"),
    pytest.param(question(NAME, opt=opt_record()[:-1] + b"\1"), Fall.OPT, id="an OPT that lies"),
    pytest.param(question(NAME) + b"\0", None, id="an octet too many"),
    pytest.param(question(NAME) + opt_record(), None, id="an OPT that is not counted"),
    pytest.param(question(NAME)[:-1], None, id="an octet too few"),
    pytest.param(question(Name(b"\3www\xc0\x0c")), Fall.MISS, id="a compression pointer"),
    pytest.param(question(Name(WIRE[:-1] + b"\xc0\x0c")), Fall.MISS, id="a pointer for a root"),
    pytest.param(question(Name(b"\x43" + WIRE[1:])), Fall.MISS, id="a label type that is none"),
    pytest.param(question(Name(WIRE + WIRE)), Fall.MISS, id="two names"),
    pytest.param(question(NAME, 28), Fall.MISS, id="another type"),
    pytest.param(question(NAME, flags=RD | CD), Fall.MISS, id="CD"),
    pytest.param(question(NAME, opt=opt_record(do=True)), Fall.MISS, id="DO"),
    pytest.param(question("ww.Example.com"), Fall.MISS, id="another name"),
    pytest.param(question("www.example.co"), Fall.MISS, id="a name cut short"),
    pytest.param(question(Name(b"\x0fwww.example.com\0")), Fall.MISS, id="dots in a label"),
    pytest.param(question(Name(b"\0" * 256)), Fall.NAME, id="256 octets of name"),
    pytest.param(b"\x12\x34\1\0" + struct.pack("!HHHH", 1, 0, 0, 1) + b"\0\0\1\0\1" + bytes(5),
                 Fall.NAME, id="nothing but a header and half an OPT"),
    pytest.param(question(NAME)[:12], None, id="a header alone"),
    pytest.param(b"", None, id="nothing"),
    pytest.param(question(Name(b"\x3f" * 200), opt=opt_record(rdata=bytes(90))), None, id="long"),
])  # fmt: skip
@BOTH
def test_what_is_not_plain_goes_on_as_it_came(
    kitchen: Kitchen, way: Way, query: bytes, why: Fall | None, v6: bool
) -> None:
    kitchen.publish(addresses(), NAME)

    assert kitchen.ask(way, query, v6=v6) is None
    if why is not None:
        assert kitchen.falls() == {why: 1}
    assert kitchen.ask(way, question(NAME), v6=v6) is not None, "the plain one still is"


def test_row_26_fragments_options_and_lies_go_on_as_they_came(kitchen: Kitchen, way: Way) -> None:
    kitchen.publish(addresses(), NAME)
    to, by = way.to(False), way.by(False)
    to6, by6 = way.to(True), way.by(True)
    udp = with_check(UDP(53, question(NAME)), by, to)
    udp6 = with_check(UDP(53, question(NAME)), by6, to6)
    longer = Cut(udp, 0)
    lying = type(udp)(17, udp.wire[:4] + b"\0\x20" + udp.wire[6:])
    packets = [
        IP4(to, udp, src=by, more=True),
        IP4(to, udp, src=by, offset=1),
        IP4(to, udp, src=by, options=b"\x94\x04\0\0"),
        IP4(to, lying, src=by),
        IP4(to, with_check(UDP(53, question(NAME), sport=0), by, to), src=by),
        IP6(to6, Fragment(udp6, more=True), src=by6),
        IP6(to6, Fragment(udp6), src=by6),
        IP6(to6, DestOptions(udp6), src=by6),
    ]
    for packet in packets:
        assert kitchen.run(way, packet) is None, packet.wire.hex()
    assert set(kitchen.falls()) <= {Fall.SHAPE}
    assert kitchen.run(way, IP4(to, longer, src=by)) is not None


@pytest.mark.parametrize("way", [LO, XDP], ids=str)
@pytest.mark.parametrize("first", [0x47, 0x44, 0x55, 0x4F])
def test_row_23_options_that_look_like_a_query_are_options(
    kitchen: Kitchen, way: Way, first: int
) -> None:
    """The header says that it is longer, or not of IPv4: what follows are no ports."""
    kitchen.publish(addresses(), NAME)
    udp = with_check(UDP(53, question(NAME)), way.by(False), way.to(False))
    frame = as_wire(way, IP4(way.to(False), udp, src=way.by(False)))

    assert kitchen.run(way, frame) is not None
    assert kitchen.run(way, frame[:14] + bytes([first]) + frame[15:]) is None


def test_a_frame_is_padded_and_still_a_query(kitchen: Kitchen) -> None:
    """Ethernet pads what is shorter than 60 octets; the question for the root is."""
    told = Template(Name(b"\0"), 0, [Record(Name(b"\0"), 2, IN, 9, b"\1a\0")])
    kitchen.publish(told, Name(b"\0"), 2)
    query = question(Name(b"\0"), 2)
    for way in (GUEST, XDP):
        udp = with_check(UDP(53, query), GUEST4, HERE4)
        reply = kitchen.run(way, Ether(IP4(HERE4, udp, src=GUEST4)).ljust(60, b"\0"))

        assert reply is not None and reply.checked().dns == rendered(told, query)


@LINKS
@pytest.mark.parametrize("tags", [(0x8100,), (0x88A8, 0x8100)])
def test_row_20_tagged_frames_are_the_daemons(
    kitchen: Kitchen, way: Way, tags: tuple[int, ...]
) -> None:
    kitchen.publish(addresses(), NAME)
    udp = with_check(UDP(53, question(NAME)), way.by(False), way.to(False))

    frame = Ether(IP4(way.to(False), udp, src=way.by(False)), tags=tags)
    assert kitchen.run(way, frame) is None


@pytest.mark.parametrize(("src", "v6"), [
    ("224.0.0.1", False), ("255.255.255.255", False), ("127.0.0.1", False), ("0.0.0.0", False),
    (HERE4, False), ("ff02::1", True), ("::1", True), ("::", True),
])  # fmt: skip
def test_row_15_nobody_is_answered_at_an_address_that_cannot_ask(
    kitchen: Kitchen, wire: Way, src: str, v6: bool
) -> None:
    """A group, loopback, and the host itself: a listener would talk to itself."""
    kitchen.publish(addresses(), NAME)
    to, udp = wire.to(v6), with_check(UDP(53, question(NAME)), src, wire.to(v6))
    packet = IP6(to, udp, src=src) if v6 else IP4(to, udp, src=src)
    frame = as_wire(wire, packet)
    ran, _ = kitchen._run(wire, frame, WEB)

    assert ran.data == frame
    assert Fall.ANSWERED not in kitchen.falls()


@pytest.mark.parametrize("wire", [way for way in WIRES if way.link], ids=str, indirect=True)
def test_a_frame_to_or_from_a_group_is_not_answered(kitchen: Kitchen, wire: Way) -> None:
    kitchen.publish(addresses(), NAME)
    udp = with_check(UDP(53, question(NAME)), GUEST4, HERE4)
    frame = Ether(IP4(HERE4, udp, src=GUEST4))
    for group in (b"\xff" * 6 + frame[6:], frame[:6] + b"\1" + frame[7:]):
        assert kitchen.run(wire, group) is None
    assert kitchen.falls() == {Fall.SOURCE: 2}


def test_what_is_not_to_us_is_not_touched(kitchen: Kitchen, way: Way) -> None:
    kitchen.publish(addresses(), NAME)
    query, by = question(NAME), way.by(False)
    elsewhere = with_check(UDP(53, query), by, "192.0.2.53")
    other_port = with_check(UDP(5353, query), by, way.to(False))

    if way in (LO, INSIDE, XDP):  # the others judge it, and may drop it
        assert kitchen.run(way, IP4("192.0.2.53", elsewhere, src=by)) is None
        assert kitchen.run(way, IP4(way.to(False), other_port, src=by)) is None
    assert kitchen.falls() == {}


def test_lo_needs_a_mark(kitchen: Kitchen) -> None:
    """Without one no hook of ours saw the query, and nobody knows who asks."""
    kitchen.publish(addresses(), NAME)
    kitchen.publish(addresses(), NAME, role=RoleId(0))

    assert kitchen.ask(LO, question(NAME), role=RoleId(0)) is None
    assert kitchen.ask(LO, question(NAME), role=RoleId(0x40000000 | WEB)) is None
    assert Fall.ANSWERED not in kitchen.falls()


def test_inside_only_the_daemons_row_says_who_asks(kitchen: Kitchen, wall: Wall) -> None:
    kitchen.publish(addresses(), NAME)
    kitchen.publish(addresses(), NAME, role=HOST)
    frame = Ether(IP4(HERE4, with_check(UDP(53, question(NAME)), GUEST4, HERE4), src=GUEST4))

    ran, _ = kitchen._run(INSIDE, frame, WEB)

    assert ran.data == frame
    if wall.loaded.netns_cookie:
        assert kitchen.falls() == {Fall.ROLE: 1}
        wall.device_is(wall.device, WEB)
        assert kitchen._run(INSIDE, frame, WEB)[0].data != frame


def test_xdp_knows_roles_by_device_and_source(kitchen: Kitchen, wall: Wall) -> None:
    kitchen.publish(addresses(), NAME, role=MAIL)
    assert kitchen.ask(XDP, question(NAME)) is None

    wall.source_is("198.51.100.0/24", MAIL, kitchen.guest)
    assert kitchen.ask(XDP, question(NAME)) is not None

    wall.table("dnsfw_devices").delete(next(iter(wall.table("dnsfw_devices").keys())))
    frame = Ether(IP4(HERE4, with_check(UDP(53, question(NAME)), GUEST4, HERE4), src=GUEST4))
    ran, _ = kitchen._run(XDP, frame, WEB)
    assert ran.data == frame, "a device without a row answers nobody"


@pytest.mark.parametrize("way", WIRES, ids=str)
def test_row_104_who_has_no_subject_on_a_wire_is_the_daemons_to_judge(
    kitchen: Kitchen, way: Way
) -> None:
    """A neighbour or a stranger with a made-up source: `host` there is anybody."""
    kitchen.publish(addresses(), NAME, role=HOST)

    for source in ("203.0.113.9", way.by(False)):
        assert kitchen.ask(way, question(NAME), role=HOST, by=source) is None
    assert kitchen.falls() == {Fall.SOURCE: 2}


def test_the_way_back_to_the_guest_is_open_for_answers_alone(kitchen: Kitchen, wall: Wall) -> None:
    """guest_out would drop it: nothing began that conversation."""
    wall.policy(ALLOW, others=[RolePlan(WEB, DENY, inbound=Inbound.DENY)])
    kitchen.publish(addresses(), NAME)
    reply = kitchen.ask(GUEST, question(NAME))
    assert isinstance(reply, Told)

    mark = 0x20000000
    for hook in ("dnsfw_guest_out", "dnsfw_edge_out"):
        passed = wall.judge(hook, reply.frame, device=kitchen.guest, came_in=kitchen.guest,
                            mark=mark)  # fmt: skip
        dropped = wall.judge(hook, reply.frame, device=kitchen.guest, came_in=kitchen.guest)
        assert (passed.verdict, dropped.verdict) == (ALLOW, DENY)
        foreign = wall.judge(hook, reply.frame, device=kitchen.guest, came_in=wall.device,
                             mark=mark)  # fmt: skip
        assert foreign.verdict is DENY, "somebody else's use of the same bit opens no guest"


def test_where_devices_alone_are_guarded_lo_answers_through_its_hook(kitchen: Kitchen) -> None:
    """tc_lo finds out who asks: here the test's own socket, which is the host's."""
    told = addresses()
    kitchen.publish(told, NAME, role=HOST)

    reply = kitchen.ask(LO_STAGE, question(NAME))

    assert reply is not None and reply.checked().dns == rendered(told, question(NAME))


def test_no_stage_no_answer(kitchen: Kitchen, wall: Wall) -> None:
    kitchen.publish(addresses(), NAME)
    set_stages(wall.table("dnsfw_stages"), wall.loaded.programs, on=False)

    said = wall.judge("dnsfw_guest_in", IP4(HERE4, UDP(53, question(NAME)), src=GUEST4),
                      device=kitchen.guest)  # fmt: skip
    assert said.verdict is ALLOW and said.mark == WEB
    assert kitchen.falls() == {}


def test_row_117_deadlines_are_boot_times(kitchen: Kitchen) -> None:
    """Nanoseconds of the clock that grants have."""
    key = kitchen.publish(addresses(), NAME, left=2)
    (row,) = kitchen.table.entries()

    assert row.key == key
    assert 0 < row.until - boottime() <= 2 * SECOND
