from __future__ import annotations

import dnslib
import pytest

from dnsfw.wire import codes
from dnsfw.wire.message import Ede, Query, Rcode, Record, Refuse, peek, read_query, read_response
from dnsfw.wire.reply import Template, soa, write_error, write_query, write_reply
from tests.support.rawdns import LONGEST, WWW, name, opt, query, question

MIXED = b"\3wWw\7eXample\3cOM\0"
CDN = name("cdn.example.net")
CHAIN = (
    Record(WWW, codes.CNAME, 1, 300, CDN),
    Record(CDN, codes.A, 1, 60, b"\xc0\0\2\1"),
    Record(CDN, codes.A, 1, 20, b"\xc0\0\2\2"),
)
MANY = tuple(Record(WWW, codes.A, 1, 60, bytes([192, 0, 2, n])) for n in range(100))


def asked(*tail: bytes, flags: int = 0x100, wire_name: bytes = MIXED) -> Query:
    return read_query(query(wire_name, *tail, flags=flags))


def refused(wire: bytes) -> Refuse:
    with pytest.raises(Refuse) as caught:
        read_query(wire)
    return caught.value


def test_our_query_says_nothing_but_name_type_and_edns() -> None:
    wire = write_query(7, WWW, codes.AAAA)

    got = read_query(wire)

    assert (got.id, got.flags, got.name, got.qtype) == (7, 0x100, WWW, codes.AAAA)
    assert got.edns is not None
    assert (got.edns.size, got.edns.do, got.edns.options) == (1232, False, ())


def test_our_query_carries_the_bits_it_is_given() -> None:
    got = read_query(write_query(7, WWW, 1, rd=False, cd=True, do=True, ad=True, size=4096))

    assert (got.rd, got.cd, got.do, got.ad) == (False, True, True, True)
    assert got.flags == 0x0030


def test_our_query_goes_without_edns_where_asked() -> None:
    assert read_query(write_query(7, WWW, 1, size=0)).edns is None


def test_a_reply_echoes_id_question_rd_and_cd() -> None:
    wire = write_reply(asked(flags=0x110), 0, CHAIN)

    assert wire[:2] == b"\x12\x34"
    assert wire[2:4] == b"\x81\x90"  # QR RD, RA CD
    assert wire[12:33] == question(MIXED)
    assert read_response(wire).answers == CHAIN


def test_a_reply_leaves_other_bits_of_the_query_out() -> None:
    assert write_reply(asked(flags=0x0160), 0)[2:4] == b"\x81\x80"


def test_a_reply_has_opt_only_if_the_query_had() -> None:
    plain = read_response(write_reply(asked(), 0, CHAIN))
    with_opt = read_response(write_reply(asked(opt(ttl=0x8000, size=4096)), 0, CHAIN))

    assert plain.edns is None
    assert with_opt.edns is not None
    assert (with_opt.edns.size, with_opt.edns.do, with_opt.edns.version) == (1232, True, 0)


def test_options_of_the_client_are_not_echoed() -> None:
    got = read_response(write_reply(asked(opt(b"\0\x0a\0\x08" + b"12345678")), 0))

    assert got.edns is not None
    assert got.edns.options == ()


def test_an_extended_error_goes_to_clients_with_edns() -> None:
    ede = (Ede.BLOCKED, "deny *.tracker.example")

    got = read_response(write_reply(asked(opt()), Rcode.NXDOMAIN, ede=ede))
    plain = write_reply(asked(), Rcode.NXDOMAIN, ede=ede)

    assert got.edns is not None
    assert got.edns.options == ((15, b"\0\x0fdeny *.tracker.example"),)
    assert b"tracker" not in plain


def test_the_text_of_an_extended_error_is_cut_between_characters() -> None:
    got = read_response(write_reply(asked(opt()), 0, ede=(0, "ü" * 200)))

    assert got.edns is not None
    assert got.edns.options[0][1][2:].decode() == "ü" * 80


@pytest.mark.parametrize(
    ("flags", "tail", "shown"),
    [
        (0x100, (), False),
        (0x120, (), True),
        (0x100, (opt(),), False),
        (0x120, (opt(),), True),
        (0x100, (opt(ttl=0x8000),), True),
    ],
)
def test_ad_is_shown_to_clients_that_understand_it(
    flags: int, tail: tuple[bytes, ...], shown: bool
) -> None:
    assert read_response(write_reply(asked(*tail, flags=flags), 0, ad=True)).ad is shown
    assert not read_response(write_reply(asked(*tail, flags=flags), 0)).ad


def test_aa_is_set_for_our_own_data() -> None:
    assert read_response(write_reply(asked(), 0, aa=True)).aa


def test_authority_stands_behind_the_answers() -> None:
    record = soa(name("example.com"), 30)

    got = read_response(write_reply(asked(), Rcode.NXDOMAIN, authority=[record]))

    assert (got.rcode, got.answers, got.authority) == (3, (), (record,))


def test_a_reply_over_the_limit_is_truncated_to_nothing() -> None:
    got = dnslib.DNSRecord.parse(write_reply(asked(opt(size=600)), 0, MANY, MANY))

    assert got.header.tc
    assert (got.rr, got.auth) == ([], [])
    assert [rr.rtype for rr in got.ar] == [codes.OPT]


def test_the_limit_of_a_stream_is_the_callers() -> None:
    assert read_response(write_reply(asked(), 0, MANY, limit=65_535)).answers == MANY


def test_a_reply_of_exactly_the_limit_is_whole() -> None:
    wire = write_reply(asked(), 0, CHAIN)

    assert write_reply(asked(), 0, CHAIN, limit=len(wire)) == wire
    assert read_response(write_reply(asked(), 0, CHAIN, limit=len(wire) - 1)).tc


def test_the_opt_record_counts_towards_the_limit() -> None:
    query = asked(opt())
    wire = write_reply(query, 0, CHAIN)

    assert write_reply(query, 0, CHAIN, limit=len(wire)) == wire
    assert read_response(write_reply(query, 0, CHAIN, limit=len(wire) - 1)).tc


def test_the_largest_truncated_reply_fits_every_client() -> None:
    wire = write_reply(asked(opt(), wire_name=LONGEST), 0, MANY, ede=(15, "x" * 999))

    assert len(wire) <= 512


def test_an_extended_rcode_needs_opt_and_is_a_failure_without() -> None:
    assert read_response(write_reply(asked(opt()), Rcode.BADCOOKIE)).rcode == Rcode.BADCOOKIE
    assert read_response(write_reply(asked(), Rcode.BADCOOKIE)).rcode == Rcode.SERVFAIL


def test_dnslib_reads_a_reply_as_we_meant_it() -> None:
    got = dnslib.DNSRecord.parse(write_reply(asked(opt()), 0, CHAIN, [soa(WWW, 5)]))

    assert [str(rr.rdata) for rr in got.rr] == ["cdn.example.net.", "192.0.2.1", "192.0.2.2"]
    assert [str(rr.rname).lower() for rr in got.rr] == [
        "www.example.com.",
        "cdn.example.net.",
        "cdn.example.net.",
    ]
    assert str(got.auth[0].rdata) == "dnsfw.invalid. nobody.invalid. 1 3600 600 86400 5"


def test_a_template_ages_every_ttl_and_stops_at_zero() -> None:
    template = Template(WWW, 0, CHAIN, [soa(WWW, 40)])

    got = read_response(template.render(asked(), age=30))

    assert [r.ttl for r in got.answers + got.authority] == [270, 30, 0, 10]
    assert got.answers[0].rdata == CDN


def test_a_template_is_not_changed_by_rendering() -> None:
    template = Template(WWW, 0, CHAIN)
    first = template.render(asked())

    template.render(asked(opt(ttl=0x8000)), age=99)

    assert template.render(asked()) == first


def test_a_template_renders_for_a_peek_as_for_a_query() -> None:
    template = Template(WWW, 0, CHAIN, ad=True, ede=(Ede.STALE, "old"))

    for tail in ((), (opt(),), (opt(ttl=0x8000),)):
        wire = query(MIXED, *tail, flags=0x130)
        peeked = peek(wire)
        assert peeked is not None
        assert template.render(peeked, 3) == template.render(read_query(wire), 3)


@pytest.mark.parametrize(
    ("wire", "rcode", "echo"),
    [
        (query(MIXED, qtype=252), Rcode.REFUSED, True),
        (query(MIXED, qclass=3), Rcode.REFUSED, True),
        (query(MIXED) + b"\0", Rcode.FORMERR, True),
        (query(b"\xc0\x0c"), Rcode.FORMERR, False),
        (query(flags=0x2000), Rcode.NOTIMP, False),
    ],
)
def test_an_error_echoes_the_question_where_it_could_be_read(
    wire: bytes, rcode: Rcode, echo: bool
) -> None:
    reply = write_error(refused(wire))

    assert reply is not None
    got = dnslib.DNSRecord.parse(reply)
    assert (got.header.id, got.header.qr, got.header.rcode) == (0x1234, 1, rcode)
    assert got.header.opcode == (wire[2] & 0x78) >> 3
    assert reply[12:] == (wire[12:33] if echo else b"")


def test_an_error_never_carries_text_of_ours_or_is_longer_than_its_query() -> None:
    wire = query(MIXED) + b"\0"
    reply = write_error(refused(wire))

    assert reply is not None
    assert len(reply) <= len(wire)


def test_bad_version_is_told_in_opt() -> None:
    reply = write_error(refused(query(WWW, opt(ttl=0x0001_8000))))

    assert reply is not None
    got = read_response(reply)
    assert got.rcode == Rcode.BADVERS
    assert got.edns is not None
    assert (got.edns.version, got.edns.do) == (0, True)


def test_silence_is_no_reply() -> None:
    assert write_error(refused(query(flags=0x8100))) is None


def test_the_soa_of_a_refusal_can_be_cached_for_its_ttl() -> None:
    record = soa(WWW, 60)

    assert record.ttl == 60
    assert record.rdata[-4:] == (60).to_bytes(4, "big")
