"""Whole replies by whole queries: found only by the same octets, and never for longer."""

from __future__ import annotations

from dnsfw.engine.replies import ID, LONGEST, Replies
from dnsfw.model import HOST, Nanos, RoleId

WEB = RoleId(16)
QUERY = b"\x12\x34" + b"flags, counts, question"
REPLY = b"\x12\x34" + b"what was said"
UNTIL = Nanos(1_000)


def test_a_reply_is_found_by_everything_but_the_id() -> None:
    replies = Replies(8)

    replies.put(HOST, QUERY, REPLY, UNTIL)

    assert replies.of(HOST)[b"flags, counts, question"] == (UNTIL, b"what was said")
    assert replies.of(HOST).get(b"Flags, counts, question") is None


def test_row_68_what_one_role_repeats_is_not_anothers_to_find() -> None:
    replies = Replies(8)

    replies.put(HOST, QUERY, REPLY, UNTIL)

    assert not replies.of(WEB)


def test_a_query_longer_than_a_slot_of_the_batch_is_not_kept() -> None:
    replies = Replies(8)

    replies.put(HOST, bytes(ID + LONGEST), REPLY, UNTIL)
    replies.put(HOST, bytes(ID + LONGEST + 1), REPLY, UNTIL)

    assert len(replies) == 1


def test_row_106_who_has_the_most_gives_way_and_nobody_else() -> None:
    replies = Replies(4)
    replies.put(WEB, QUERY, REPLY, UNTIL)

    for i in range(10):
        replies.put(HOST, QUERY + bytes((i,)), REPLY, UNTIL)

    assert len(replies.of(WEB)) == 1
    assert len(replies) <= 4


def test_a_reply_in_the_place_of_an_older_one_needs_no_room() -> None:
    replies = Replies(2)

    for i in range(10):
        replies.put(HOST, QUERY, REPLY, Nanos(i))

    assert replies.of(HOST)[QUERY[ID:]].until == 9


def test_clearing_empties_what_somebody_holds_too() -> None:
    replies = Replies(8)
    replies.put(HOST, QUERY, REPLY, UNTIL)
    held = replies.of(HOST)

    replies.clear()

    assert not held
    assert len(replies) == 0


def test_without_a_limit_nothing_is_kept_to_begin_with() -> None:
    assert len(Replies(0)) == 0
