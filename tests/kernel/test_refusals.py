"""Tables of refusals in the kernel: one in force, one beside it, a switch by one store."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator

import pytest

from dnsfw.datapath import abi
from dnsfw.datapath.answers import Answer, AnswerTable, Size
from dnsfw.datapath.memory import MemoryMap
from dnsfw.datapath.refusals import Prepared, RefusalTable, template_key
from dnsfw.datapath.tables import number_key
from dnsfw.errors import DatapathError
from dnsfw.model import HOST, Nanos
from dnsfw.policy.compile import compile_text
from dnsfw.wire.name import from_text
from tests.support.prints import image_of
from tests.support.suffix_kernel import KernelWalk, kernel_walk

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.skipif(
        shutil.which("clang") is None and "bpf" not in os.environ.get("DNSFW_REQUIRE", ""),
        reason="no clang",
    ),
]
REPLY = Answer(0x8183, 0x8183, False, 0, 0, b"tail", (), bytes(11), Nanos(0), Nanos(1 << 62), True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelWalk]:
    with kernel_walk(tmp_path_factory.mktemp("walk")) as made:
        yield made


class Stand:
    """A `RefusalTable` over the kernel's map of maps, and answers in memory."""

    def __init__(self, kernel: KernelWalk, dns: bytearray | None = None) -> None:
        self.kernel = kernel
        self.dns = bytearray(abi.Dns.SIZE) if dns is None else dns
        self.maps = {size.value: MemoryMap(100) for size in Size}
        self.maps["dnsfw_falls"] = MemoryMap(100)
        self.maps["dnsfw_role_answers"] = MemoryMap(100)
        self.answers = AnswerTable(self.maps, self.dns)
        self.table = RefusalTable(kernel.tables, self.answers, self.dns)

    def prepare(self, text: str) -> Prepared:
        image = image_of(compile_text("version: 1\n" + text))
        replies = {(abi.Outcome.DEFAULT + at, 0): REPLY for at in range(len(image.blames))}
        return self.table.prepare(image.units, image.write, replies)

    def load(self, text: str) -> Prepared:
        made = self.prepare(text)
        self.table.switch(made)
        self.table.retire()
        return made

    def refuses(self, name: str) -> bool:
        """Whether the kernel would, and has the reply."""
        found = self.kernel.raw(from_text(name), HOST, number=abi.Dns.unpack(self.dns).suffix)
        key = template_key(found >> 32, found & 0xFFFF, found >> 16 & 0xFFFF)
        return found != 0 and key in self.answers.templates()

    @property
    def replies(self) -> int:
        return len(self.answers.templates())


DENY = 'default: allow\nrules: [deny: "{}"]\n'


def test_a_table_comes_in_force_by_one_store_and_the_old_one_is_freed(
    kernel: KernelWalk,
) -> None:
    stand = Stand(kernel)
    stand.load(DENY.format("one.example"))
    assert stand.refuses("one.example")

    two = stand.prepare(DENY.format("two.example"))
    assert stand.refuses("one.example")
    assert not stand.refuses("two.example")
    stand.table.switch(two)
    assert stand.refuses("two.example")
    assert not stand.refuses("one.example")
    stand.table.retire()
    assert stand.table.active == two
    assert stand.replies == len(two.replies) == 3
    assert stand.kernel.tables.lookup(number_key(1 - two.number)) is None


def test_until_it_is_retired_the_old_table_can_come_back(kernel: KernelWalk) -> None:
    stand = Stand(kernel)
    one = stand.load(DENY.format("one.example"))
    stand.table.switch(stand.prepare(DENY.format("two.example")))
    stand.table.switch(one)
    stand.table.retire()

    assert stand.refuses("one.example")
    assert not stand.refuses("two.example")


def test_a_table_that_never_came_in_force_makes_place_for_the_next(kernel: KernelWalk) -> None:
    stand = Stand(kernel)
    stand.load(DENY.format("one.example"))
    stand.prepare(DENY.format("two.example"))
    three = stand.prepare(DENY.format("three.example"))

    assert stand.refuses("one.example")
    stand.table.switch(three)
    assert stand.refuses("three.example")
    assert stand.replies == 6  # of the one that can come back, too


def test_switched_off_nothing_is_refused(kernel: KernelWalk) -> None:
    stand = Stand(kernel)
    stand.load(DENY.format("one.example"))
    stand.table.switch(None)
    assert not stand.refuses("one.example")
    stand.table.retire()
    assert stand.replies == 0


def test_what_an_earlier_process_left_is_in_force_until_the_switch(kernel: KernelWalk) -> None:
    before = Stand(kernel)
    before.load(DENY.format("one.example"))
    after = Stand(kernel, before.dns)
    after.maps.update(before.maps)
    after.answers = AnswerTable(after.maps, after.dns)
    after.table = RefusalTable(kernel.tables, after.answers, after.dns)

    assert after.refuses("one.example")
    assert after.table.verify()
    after.load(DENY.format("two.example"))
    assert after.refuses("two.example")
    assert not after.refuses("one.example")
    assert after.replies == 3


def test_somebody_who_writes_over_the_table_is_seen(kernel: KernelWalk) -> None:
    stand = Stand(kernel)
    made = stand.load(DENY.format("one.example"))
    assert stand.table.verify()
    stand.kernel.tables.delete(number_key(made.number))

    assert not stand.table.verify()


def test_a_reply_without_room_is_no_refusal(kernel: KernelWalk) -> None:
    stand = Stand(kernel)
    stand.maps["dnsfw_answers"].capacity = 1
    stand.load(DENY.format("one.example"))

    assert stand.replies == 1
    assert not stand.refuses("one.example")


def test_a_table_that_cannot_be_made_leaves_the_one_in_force(
    kernel: KernelWalk,
) -> None:
    stand = Stand(kernel)
    stand.load(DENY.format("one.example"))
    with pytest.raises(DatapathError):
        stand.table.prepare(1 << 31, lambda view, generation: None, {})

    def fail(view: memoryview, generation: int) -> None:
        raise DatapathError("no")

    with pytest.raises(DatapathError):
        stand.table.prepare(10, fail, {})
    assert stand.refuses("one.example")
    assert stand.replies == 3


def test_row_92_while_tables_change_a_name_is_judged_by_the_old_or_the_new_one(
    kernel: KernelWalk,
) -> None:
    """A hundred reloads beside a reader: a name that both tables refuse is refused at every
    moment, one that neither refuses at none.
    """
    stand = Stand(kernel)
    texts = [
        'default: allow\nrules: [deny: "both.example", deny: "one.example"]\n',
        'default: allow\nrules: [deny: "both.example", deny: "two.example"]\n',
    ]
    stand.load(texts[0])
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        names = {name: from_text(name) for name in ("both.example", "none.example")}
        while not done.is_set():
            for name, wire in names.items():
                number = abi.Dns.unpack(stand.dns).suffix
                outcome, _ = kernel.ask(wire, HOST, number=number)
                # The reader asks for a number that may have been freed since: then it is Python's.
                still = abi.Dns.unpack(stand.dns).suffix == number
                if (outcome != 0) != (name == "both.example") and still:
                    wrong.append(name)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for at in range(100):
            stand.load(texts[at % 2])
    finally:
        done.set()
        reader.join()
    assert wrong == []


def test_a_small_policy_costs_a_page_or_two(kernel: KernelWalk) -> None:
    stand = Stand(kernel)

    assert stand.load(DENY.format("one.example")).units * 64 < 16384
