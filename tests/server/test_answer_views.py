"""What the kernel answers, in rows."""

from __future__ import annotations

from dnsfw.datapath.abi import Fall, RoleAnswers
from dnsfw.datapath.tables import number_key
from dnsfw.model import HOST, Nanos
from dnsfw.server.answer_views import answers_view, by_role, fall_text
from dnsfw.server.answers import Book
from dnsfw.server.kernel import Hook
from tests.server.test_answers import Stand, item
from tests.support.memory_kernel import MemoryKernel


def kernel(stand: Stand) -> MemoryKernel:
    made = MemoryKernel()
    made.answers = stand.kernel.table()
    made.answer_hooks = (
        Hook("answer_lo", "lo egress", "tcx"),
        Hook("answer_xdp", "eth1 xdp", "xdp", attached=False, note="EBUSY"),
    )
    return made


def test_without_tables_it_is_off() -> None:
    assert answers_view(MemoryKernel(), None) == {"on": False}
    assert by_role(MemoryKernel()) == {}


def test_hits_misses_and_what_is_held_are_shown_with_their_bytes() -> None:
    stand = Stand()
    book: Book = stand.book
    book.publish(item("a.com", 60, Nanos(stand.now)), stand.now)
    book.publish(item("big.com", 60, Nanos(stand.now), big=True), stand.now)
    falls = stand.kernel.maps["dnsfw_falls"]
    falls.data[number_key(Fall.ANSWERED)] = (7).to_bytes(8, "little") + (1).to_bytes(8, "little")
    falls.data[number_key(Fall.MISS)] = (3).to_bytes(8, "little") + bytes(8)

    view = answers_view(kernel(stand), book)

    assert (view["on"], view["answered"], view["passed_on"]) == (True, 8, {"miss": 3})
    assert view["held"] == {"small": 1, "big": 1, "long": 0} and view["bytes"] == 2560
    assert view["where"] == ["lo egress (tcx)"] and view["missing"] == ["eth1 xdp: EBUSY"]


def test_each_role_has_its_own() -> None:
    stand = Stand()
    rows = stand.kernel.maps["dnsfw_role_answers"]
    rows.data[number_key(HOST)] = RoleAnswers(5, 2, 1).pack() * 2

    assert by_role(kernel(stand)) == {HOST: RoleAnswers(10, 4, 2)}


def test_every_reason_is_said_in_a_word() -> None:
    assert fall_text(Fall.MISS) == "miss"
    assert all(fall_text(fall).isascii() for fall in Fall)
