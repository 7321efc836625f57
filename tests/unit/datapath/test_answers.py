"""What is written for the kernel to answer by, without a kernel."""

from __future__ import annotations

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.abi import DnsLimit, Fall, Limit
from dnsfw.datapath.answers import _SMALL, Answer, AnswerKey, AnswerTable, fits
from dnsfw.datapath.memory import MemoryMap
from dnsfw.datapath.tables import number_key
from dnsfw.model import Name, Nanos, RoleId
from dnsfw.wire.name import from_text

OPT = bytes.fromhex("00002904d000000000 0000".replace(" ", ""))
LONG = from_text(".".join(["a" * 40] * 3))
KEY = AnswerKey(RoleId(16), from_text("www.example.com"), 1)


def answer(tail: bytes = b"\xc0\x0c" + bytes(14), ttls: tuple[int, ...] = (6,)) -> Answer:
    return Answer(0x8180, 0x8180, False, 1, 0, tail, ttls, OPT, Nanos(5), Nanos(10**9))


def maps(room: int = 100) -> dict[str, MemoryMap]:
    return {
        "dnsfw_answers": MemoryMap(room),
        "dnsfw_answers_big": MemoryMap(room),
        "dnsfw_answers_long": MemoryMap(room),
        "dnsfw_falls": MemoryMap(Fall.COUNT, 16),
        "dnsfw_role_answers": MemoryMap(Limit.MAX_ROLES, 2 * abi.RoleAnswers.SIZE),
    }


@pytest.fixture
def made() -> dict[str, MemoryMap]:
    return maps()


@pytest.fixture
def dns() -> bytearray:
    return bytearray(4096)


@pytest.fixture
def table(made: dict[str, MemoryMap], dns: bytearray) -> AnswerTable:
    return AnswerTable(made, dns)


@pytest.mark.parametrize(
    ("name", "size", "ttls", "where"),
    [
        (KEY.name, 100, 2, "dnsfw_answers"),
        (KEY.name, DnsLimit.SMALL_DATA - 11, 16, "dnsfw_answers"),
        (KEY.name, DnsLimit.SMALL_DATA - 10, 2, "dnsfw_answers_big"),
        (KEY.name, 100, 17, "dnsfw_answers_big"),
        (LONG, 100, 2, "dnsfw_answers_long"),
        (LONG, DnsLimit.BIG_DATA - 11, 76, "dnsfw_answers_long"),
        (KEY.name, DnsLimit.BIG_DATA - 10, 2, ""),
        (KEY.name, 100, 77, ""),
        (LONG, DnsLimit.BIG_DATA - 10, 2, ""),
    ],
)
def test_a_reply_goes_into_the_smallest_class_that_holds_it(
    table: AnswerTable,
    made: dict[str, MemoryMap],
    name: Name,
    size: int,
    ttls: int,
    where: str,
) -> None:
    key = KEY._replace(name=name)
    told = answer(bytes(size), tuple(range(ttls)))

    assert table.publish(key, told) is fits(key, told) is bool(where)
    assert [name for name, rows in made.items() if rows.data and "answers" in name][:1] == (
        [where] if where else ["dnsfw_role_answers"]
    )


def test_a_reply_that_grew_leaves_no_older_one_behind(
    table: AnswerTable, made: dict[str, MemoryMap]
) -> None:
    table.publish(KEY, answer())
    table.publish(KEY, answer(bytes(600)))
    assert not made["dnsfw_answers"].data

    table.publish(KEY, answer(bytes(5000)))
    assert not made["dnsfw_answers_big"].data


def test_a_full_table_is_no_failure() -> None:
    table = AnswerTable(maps(1), bytearray(4096))

    assert table.publish(KEY, answer())
    assert not table.publish(KEY._replace(qtype=28), answer())
    assert table.hits(KEY) == 0


def test_withdraw_leaves_nothing_that_counts(table: AnswerTable) -> None:
    table.publish(KEY, answer())
    assert [row.live for row in table.entries()] == [True]

    table.withdraw()

    assert [row.live for row in table.entries()] == [False]
    table.publish(KEY, answer())
    assert [(row.key, row.live) for row in table.entries()] == [(KEY, True)]


def test_the_next_process_knows_what_this_one_published(
    made: dict[str, MemoryMap], dns: bytearray
) -> None:
    first = AnswerTable(made, dns)
    first.switch(answers=True)
    first.withdraw()
    first.publish(KEY, answer())

    second = AnswerTable(made, dns)

    assert second.on and second.epoch == 1
    assert [row.live for row in second.entries()] == [True]
    assert second.encode(KEY, answer(), _SMALL) == first.encode(KEY, answer(), _SMALL)


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        KEY._replace(name=LONG, do=True),
        KEY._replace(cd=True, qtype=65),
        KEY._replace(name=from_text(".")),
    ],
)
def test_a_key_reads_as_it_was_written(table: AnswerTable, key: AnswerKey) -> None:
    table.publish(key, answer())

    assert [row.key for row in table.entries()] == [key]
    assert table.delete(key)
    assert not table.delete(key)
    assert table.hits(key) is None


def test_a_seal_tells_any_two_words_apart(table: AnswerTable) -> None:
    """The top bit of any word counts, or half of an answer could be another's."""
    words = bytes(80)
    seals = {seal_of(table, words)}
    for at in range(0, 80, 8):
        for bit in (1, 1 << 63):
            changed = words[:at] + bit.to_bytes(8, "little") + words[at + 8 :]
            seals.add(seal_of(table, changed))

    assert len(seals) == 21


def seal_of(table: AnswerTable, tail: bytes) -> bytes:
    return table.encode(KEY, answer(tail, ()), _SMALL)[1][8:16]


def test_no_two_questions_lie_in_one_place(table: AnswerTable) -> None:
    """Nor do such as differ in top bits, or by sums that would cancel out."""
    names = [from_text(text) for text in ("aaaaaaa.bbbbbbb.ccccccc.x", "baaaaaa.`bbbbbb.ccccccc.x",
                                          "baaaaaa.abbbbbb.dcccccc.x", "aaaaaaa.bbbbbbb.ccccccc")]
    names += [Name(bytes(at) + b"\x80" + bytes(63 - at)) for at in range(64)]
    keys = [KEY._replace(role=RoleId(role), qtype=qtype, name=name, do=do, cd=cd)
            for role in (16, 17) for qtype in (1, 28) for name in names
            for do in (False, True) for cd in (False, True)]  # fmt: skip

    assert len({table.hash(key) for key in keys}) == len(keys)


def test_another_installation_has_other_places(made: dict[str, MemoryMap]) -> None:
    assert AnswerTable(made, bytearray(4096)).hash(KEY) != AnswerTable(
        made, bytearray(4096)
    ).hash(KEY)


def test_an_entry_of_another_question_in_the_same_place_has_its_own_hits(
    made: dict[str, MemoryMap], table: AnswerTable
) -> None:
    other = KEY._replace(qtype=28)
    made["dnsfw_answers"].data[table.hash(KEY)] = table.encode(other, answer(), _SMALL)[1]

    assert table.hits(KEY) is None


def test_counters_add_up_over_the_cpus(made: dict[str, MemoryMap], table: AnswerTable) -> None:
    made["dnsfw_falls"].data[number_key(Fall.MISS)] = bytes([3, *bytes(7), 4, *bytes(7)])
    made["dnsfw_role_answers"].data[number_key(16)] = (
        abi.RoleAnswers(1, 2, 3).pack() + abi.RoleAnswers(10, 20, 30).pack()
    )

    assert table.counters()[Fall.MISS] == 7
    assert table.counters()[Fall.ANSWERED] == 0
    assert table.role_counters() == {RoleId(16): abi.RoleAnswers(11, 22, 33)}
