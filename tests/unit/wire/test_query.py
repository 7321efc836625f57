from __future__ import annotations

import pytest

from dnsfw.wire.codes import Rcode
from dnsfw.wire.parts import Edns
from dnsfw.wire.query import Query, Refuse, peek, read_query, whole
from tests.support.rawdns import LONGEST, WWW, message, opt, query, question, record

COOKIE = b"\0\x0a\0\x08" + b"12345678"
MIXED = b"\3wWw\7eXample\3cOM\0"


def refusal(wire: bytes) -> Refuse:
    with pytest.raises(Refuse) as caught:
        read_query(wire)
    return caught.value


def test_a_plain_query_is_read() -> None:
    assert read_query(query()) == Query(0x1234, 0x100, WWW, 1, 1, question())


def test_the_name_is_canonical_and_the_question_as_sent() -> None:
    got = read_query(query(MIXED))

    assert got.name == WWW
    assert got.question == question(MIXED)


def test_edns_is_read_with_its_options() -> None:
    got = read_query(query(WWW, opt(COOKIE, size=4096, ttl=0x8000)))

    assert got.edns == Edns(4096, True, 0, ((10, b"12345678"),))
    assert got.do


def test_header_bits_are_properties() -> None:
    got = read_query(query(flags=0x0130))

    assert (got.rd, got.ad, got.cd, got.opcode, got.do, got.opt) == (
        True,
        True,
        True,
        0,
        False,
        False,
    )


def test_header_bits_that_are_clear_are_false() -> None:
    got, peeked = read_query(query(flags=0)), peek(query(flags=0))

    assert peeked is not None
    assert not (got.rd or got.ad or got.cd or got.opcode or peeked.cd or peeked.do or peeked.opt)


def test_an_opcode_is_the_number_of_the_registry() -> None:
    assert Query(0, 0x2800, WWW, 1, 1, question()).opcode == 5  # UPDATE


def test_the_longest_name_is_asked_as_any_other() -> None:
    peeked = peek(query(LONGEST))

    assert peeked is not None
    assert peeked.key == read_query(query(LONGEST)).key == question(LONGEST)


@pytest.mark.parametrize(
    ("size", "limit"), [(0, 512), (511, 512), (512, 512), (900, 900), (1232, 1232), (65_535, 1232)]
)
def test_a_reply_over_udp_fits_the_client_and_the_path(size: int, limit: int) -> None:
    plain = query(WWW, opt(size=size))
    peeked = peek(plain)

    assert read_query(plain).limit == limit
    assert peeked is not None
    assert peeked.limit == limit


def test_without_edns_a_reply_over_udp_has_512_octets() -> None:
    assert read_query(query()).limit == 512


@pytest.mark.parametrize("qtype", [1, 28, 65, 12, 255, 65_280])
def test_types_that_may_be_asked_pass(qtype: int) -> None:
    assert read_query(query(qtype=qtype)).qtype == qtype


@pytest.mark.parametrize(
    ("why", "wire"),
    [
        ("nothing", b""),
        ("eleven octets", query()[:11]),
        ("an answer", query(flags=0x8180)),
        ("an answer that is malformed too", query(flags=0x8180)[:15]),
    ],
)
def test_what_is_no_query_is_met_with_silence(why: str, wire: bytes) -> None:
    assert refusal(wire).silent


@pytest.mark.parametrize("opcode", [1, 2, 3, 4, 5, 6, 15])
def test_every_other_opcode_is_not_implemented(opcode: int) -> None:
    refused = refusal(query(flags=opcode << 11 | 0x100))

    assert refused.rcode == Rcode.NOTIMP
    assert not refused.silent


def test_an_update_is_not_implemented_though_its_counts_mean_other_things() -> None:
    wire = message(question(qtype=6), flags=0x2800, authority=1)

    assert refusal(wire).rcode == Rcode.NOTIMP


@pytest.mark.parametrize(
    ("why", "wire"),
    [
        ("no question", message(flags=0x100, questions=0)),
        ("no question but a cookie", message(opt(COOKIE), flags=0x100, questions=0, additional=1)),
        ("two questions", message(question() * 2, flags=0x100, questions=2)),
        ("65,535 questions", message(question(), flags=0x100, questions=65_535)),
        ("an answer in a query", message(question() + record(bytes(4)), flags=0x100, answers=1)),
        ("authority in a query", message(question() + record(bytes(4)), flags=0x100, authority=1)),
        ("truncated", query(flags=0x300)),
        ("counted additional record missing", message(question(), flags=0x100, additional=1)),
        ("trailing octet", query() + b"\0"),
        ("trailing octet after OPT", query(WWW, opt()) + b"\0"),
        ("trailing record", query() + opt()),
        ("two OPT", query(WWW, opt(), opt())),
        ("option length lies", query(WWW, opt(b"\0\x0a\0\x09" + b"12345678"))),
        ("OPT of another owner", query(WWW, opt(owner=b"\1a\0"))),
        ("question cut in its name", query()[:20]),
        ("question cut in its class", query()[:-1]),
        ("label of 64 octets", query(b"\x40" + b"a" * 64 + b"\0")),
        ("label type 0x80", query(b"\x80\0")),
        ("name of 256 octets", query(b"\2bb" + b"\1a" * 126 + b"\0")),
        ("pointer to itself", query(b"\xc0\x0c")),
        ("pointer forward", query(b"\xc0\x20")),
        ("pointer into the header", query(b"\xc0\x02")),
        ("NXNAME asked", query(qtype=128)),
    ],
)
def test_a_malformed_query_is_a_format_error(why: str, wire: bytes) -> None:
    refused = refusal(wire)

    assert refused.rcode == Rcode.FORMERR
    assert not refused.silent
    assert refused.id == 0x1234
    assert peek(wire) is None


@pytest.mark.parametrize("qclass", [0, 2, 3, 4, 254, 255])
def test_every_other_class_is_refused(qclass: int) -> None:
    wire = query(b"\7version\4bind\0", qtype=16, qclass=qclass)

    assert refusal(wire).rcode == Rcode.REFUSED
    assert peek(wire) is None


@pytest.mark.parametrize("qtype", [0, 41, 249, 250, 251, 252, 253, 254])
def test_transfers_and_types_that_are_no_question_are_refused(qtype: int) -> None:
    wire = query(qtype=qtype)

    assert refusal(wire).rcode == Rcode.REFUSED
    assert peek(wire) is None


def test_edns_of_a_later_version_is_told_so() -> None:
    refused = refusal(query(WWW, opt(ttl=0x0001_0000)))

    assert refused.rcode == Rcode.BADVERS
    assert refused.edns is not None
    assert refused.question == question()


def test_a_refusal_keeps_what_the_reply_must_echo() -> None:
    refused = refusal(query(MIXED, opt(ttl=0x8000), qtype=252, flags=0x110))

    assert (refused.id, refused.flags, refused.question) == (0x1234, 0x110, question(MIXED, 252))
    assert refused.edns == Edns(1232, True)


def test_unknown_header_and_edns_bits_are_let_pass_and_kept_from_the_hot_path() -> None:
    odd = query(flags=0x0140)
    odd_edns = query(WWW, opt(ttl=0x4000))

    assert read_query(odd).name == read_query(odd_edns).name == WWW
    assert peek(odd) is None
    assert peek(odd_edns) is None


def test_peek_sees_what_the_cache_needs() -> None:
    wire = query(MIXED, opt(ttl=0x8000, size=4096), flags=0x110)

    got = peek(wire)

    assert got is not None
    assert got == (0x1234, 0x110, question(), question(MIXED), True, True, 1232)
    assert got.cd


def test_peek_and_read_agree_on_the_key() -> None:
    wire = query(MIXED, qtype=65)
    got = peek(wire)

    assert got is not None
    assert got.key == read_query(wire).key


def test_type_65_and_type_97_have_different_keys() -> None:
    https, other = peek(query(qtype=65)), peek(query(qtype=97))

    assert https is not None
    assert other is not None
    assert https.key != other.key


@pytest.mark.parametrize(
    ("why", "wire"),
    [
        ("options", query(WWW, opt(COOKIE))),
        ("a record that is not OPT", query(WWW, record(b"", owner=b"\0", rtype=16))),
        ("ANY", query(qtype=255)),
        ("two additional records", query(WWW, opt(), record(b"", rtype=16))),
        ("a version", query(WWW, opt(ttl=0x0001_0000))),
    ],
)
def test_what_is_not_plain_is_left_to_the_full_reader(why: str, wire: bytes) -> None:
    assert peek(wire) is None


@pytest.mark.parametrize(
    "wire",
    [query(), query(MIXED), query(flags=0x0130), query(LONGEST), query(WWW, opt(ttl=0x8000))],
    ids=["plain", "mixed case", "flags", "the longest", "with DO"],
)
def test_a_peeked_query_becomes_the_one_that_is_read(wire: bytes) -> None:
    peeked, read = peek(wire), read_query(wire)

    assert peeked is not None
    assert whole(peeked)._replace(edns=None) == read._replace(edns=None)
    assert (whole(peeked).limit, whole(peeked).do, whole(peeked).opt) == (
        read.limit, read.do, read.opt,
    )
