"""A policy is swapped as a whole: what is built aside, what flips, what goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from dnsfw.datapath import abi, swap
from dnsfw.datapath.bpf import BpfError
from dnsfw.datapath.memory import MemoryMap, memory_maps
from dnsfw.datapath.swap import PolicyTables, whole
from dnsfw.datapath.tables import PROBE_RULE, PortSets, number_key
from dnsfw.errors import DatapathError
from dnsfw.model import (
    HOST,
    PROBE,
    FixedEntry,
    FixedRule,
    Lockdown,
    Plan,
    PortRange,
    PortSet,
    RoleId,
    RolePlan,
    RuleId,
    Verdict,
    addr_from,
)

ANY = PortSet((PortRange(6, 0, 65535),))
WEB = RoleId(16)


class Log:
    """Maps that write down every change, in order."""

    def __init__(self) -> None:
        self.maps = memory_maps()
        self.said: list[tuple[str, str, bytes]] = []
        self.tables = {name: Logged(name, table, self.said) for name, table in self.maps.items()}

    def policy(self) -> PolicyTables:
        ports = PortSets(lambda n, value: self.maps["dnsfw_portsets"].update(number_key(n), value))
        return PolicyTables(
            self.tables, ports.id_of, lambda: self.said.append(("barrier", "", b""))
        )

    def steps(self) -> list[tuple[str, str]]:
        """What happened, equal neighbours told once."""
        short = [(what, name.removeprefix("dnsfw_")) for what, name, _ in self.said]
        return [step for i, step in enumerate(short) if i == 0 or step != short[i - 1]]


class Logged:
    def __init__(self, name: str, table: MemoryMap, said: list[tuple[str, str, bytes]]) -> None:
        self.name, self.table, self.said = name, table, said

    def lookup(self, key: bytes, /) -> bytes | None:
        return self.table.lookup(key)

    def update(self, key: bytes, value: bytes, /) -> None:
        self.said.append(("write", self.name, key))
        self.table.update(key, value)

    def update_many(self, elements: Sequence[tuple[bytes, bytes]], /) -> None:
        for key, value in elements:
            self.update(key, value)

    def delete(self, key: bytes, /) -> bool:
        self.said.append(("delete", self.name, key))
        return self.table.delete(key)

    def delete_many(self, keys: Sequence[bytes], /) -> None:
        for key in keys:
            self.delete(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return self.table.items()


def generation(log: Log) -> int:
    return int.from_bytes(log.maps["dnsfw_generation"].data[number_key(0)], "little")


def plan(*rules: int, fixed: int = 1, roles: tuple[RoleId, ...] = (HOST,)) -> Plan:
    return Plan(
        tuple(RolePlan(role, Verdict.DENY) for role in roles),
        tuple(
            FixedEntry(
                HOST,
                addr_from(f"10.{i & 255}.{i >> 8}.0"),
                120,
                (FixedRule(RuleId(rules[0]), ANY, Verdict.ALLOW),),
            )
            for i in range(fixed)
        ),
        frozenset(RuleId(r) for r in rules),
    )


def live_table(log: Log, role: int = HOST) -> int:
    return abi.Role.unpack(log.maps["dnsfw_roles"].data[number_key(role)]).table


def tables_in_use(log: Log) -> set[int]:
    return {abi.FixedKey.unpack(key).table for key in log.maps["dnsfw_fixed"].data}


def test_the_new_rules_stand_before_the_flip_and_the_old_ones_go_after_it() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    log.said.clear()

    policy.apply(plan(301))

    assert log.steps() == [
        ("write", "fixed"),
        ("write", "rules"),
        ("write", "roles"),
        ("write", "generation"),
        ("delete", "rules"),
        ("write", "generation"),
        ("barrier", ""),
        ("delete", "fixed"),
    ]


def test_what_was_judged_before_does_not_count_past_a_change() -> None:
    """Hooks keep verdicts of a generation; it is raised when the change judges, and
    when what it shut is dead.
    """
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    seen = [generation(log)]

    policy.apply(plan(301), lambda: seen.append(generation(log)))
    seen.append(generation(log))
    log.said.clear()
    policy.lockdown(Lockdown.ON)
    assert log.steps() == [("write", "roles"), ("write", "generation")]
    seen.append(generation(log))
    log.maps["dnsfw_rules"].delete(number_key(301))
    policy.verify()
    seen.append(generation(log))
    policy.verify()
    seen.append(generation(log))
    log.policy()
    seen.append(generation(log))

    first = seen[0]
    assert first > 0
    assert [one - first for one in seen] == [0, 0, 2, 3, 4, 4, 5]


def test_the_first_generation_follows_the_last_one() -> None:
    """0 is nobody's: hooks that nobody has told a generation keep nothing."""
    log = Log()
    log.maps["dnsfw_generation"].update(number_key(0), number_key(0xFFFFFFFF))

    log.policy()

    assert generation(log) == 1


def test_what_has_begun_judges_and_the_old_tables_stay_until_nobody_reads_them() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    before = live_table(log)
    log.said.clear()

    swapped = policy.begin(plan(301))
    assert live_table(log) != before
    assert ("delete", "fixed") not in log.steps() and ("barrier", "") not in log.steps()

    swapped.wait()
    assert log.steps()[-1] == ("barrier", "")
    whole(swapped.finish())
    assert log.steps()[-1] == ("delete", "fixed")


def test_old_rules_count_until_they_are_buried_and_are_no_tampering_until_then() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))

    swapped = policy.begin(plan(301))
    rules = log.maps["dnsfw_rules"].data
    assert policy.verify() == () and {number_key(300), number_key(301)} <= rules.keys()

    before = generation(log)
    whole(swapped.bury())
    assert number_key(300) not in rules and number_key(301) in rules
    assert policy.verify() == () and generation(log) != before
    policy.begin(plan(300))
    whole(swapped.bury())
    assert {number_key(300), number_key(301)} <= rules.keys(), "only its own"


def test_a_swap_that_comes_before_the_last_one_is_finished_finishes_it_first() -> None:
    """It builds where the old tables are."""
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    first = policy.begin(plan(301, fixed=3))
    whole(first.bury())
    log.said.clear()

    second = policy.begin(plan(302))
    assert log.steps()[:2] == [("barrier", ""), ("delete", "fixed")]
    there = set(log.maps["dnsfw_fixed"].data)
    whole(first.finish())
    assert set(log.maps["dnsfw_fixed"].data) == there, "the second was not waited for"

    second.settle()
    assert set(log.maps["dnsfw_fixed"].data) < there


def test_between_the_flip_and_the_end_of_the_old_rules_grants_can_move() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    before = live_table(log)
    seen: list[tuple[bool, set[bytes]]] = []

    def look() -> None:
        seen.append((live_table(log) != before, set(log.maps["dnsfw_rules"].data)))

    policy.apply(plan(301), look)

    assert seen == [(True, {number_key(r) for r in (300, 301, PROBE_RULE)})]


def test_a_swap_flips_the_table_and_leaves_nothing_of_the_old_one() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    before = live_table(log)

    policy.apply(plan(301, fixed=3))

    assert live_table(log) == 1 - before
    assert tables_in_use(log) == {1 - before}
    assert set(log.maps["dnsfw_rules"].data) == {number_key(301), number_key(PROBE_RULE)}


def test_a_rule_that_stays_is_not_touched() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300, 301))
    log.said.clear()

    policy.apply(plan(300, 302))

    touched = {key for what, name, key in log.said if name == "dnsfw_rules"}
    assert touched == {number_key(301), number_key(302)}


def test_every_swap_raises_the_epoch() -> None:
    log = Log()
    policy = log.policy()

    epochs = []
    for _ in range(3):
        policy.apply(plan(300))
        role = abi.Role.unpack(log.maps["dnsfw_roles"].data[number_key(HOST)])
        epochs.append(role.epoch)

    assert epochs == [1, 2, 3]


def test_a_role_that_the_policy_no_longer_has_denies_everything() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300, roles=(HOST, WEB)))

    policy.apply(plan(300))

    left = abi.Role.unpack(log.maps["dnsfw_roles"].data[number_key(WEB)])
    assert left == abi.Role.unpack(bytes(abi.Role.SIZE))._replace(epoch=2)


def test_a_role_that_comes_back_does_not_meet_its_old_answers() -> None:
    log = Log()
    policy = log.policy()
    epochs = []
    for roles in ((HOST, WEB), (HOST,), (HOST, WEB)):
        policy.apply(plan(300, roles=roles))
        epochs.append(abi.Role.unpack(log.maps["dnsfw_roles"].data[number_key(WEB)]).epoch)

    assert epochs == [1, 2, 3]


def test_row_47_a_role_or_rule_that_somebody_wrote_is_put_right() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300, roles=(HOST, WEB)))
    before = {name: dict(table.data) for name, table in log.maps.items()}
    assert policy.verify() == ()

    role = abi.Role.unpack(log.maps["dnsfw_roles"].data[number_key(WEB)])
    log.maps["dnsfw_roles"].update(number_key(WEB), role._replace(default_verdict=1).pack())
    log.maps["dnsfw_rules"].update(number_key(999), abi.Rule(1).pack())
    log.maps["dnsfw_rules"].delete(number_key(300))

    assert policy.verify() == ("dnsfw_roles", "dnsfw_rules")
    after = {name: dict(table.data) for name, table in log.maps.items()}
    assert after.pop("dnsfw_generation") != before.pop("dnsfw_generation")
    assert after == before
    assert policy.verify() == ()


def test_a_policy_that_does_not_fit_leaves_the_old_one_untouched() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    log.maps["dnsfw_fixed"].capacity = 6  # of which the self-test has two, twice in a swap
    before = {name: dict(table.data) for name, table in log.maps.items()}

    with pytest.raises(DatapathError, match="do not fit"):
        policy.apply(plan(301, fixed=10))

    for name in ("dnsfw_roles", "dnsfw_rules", "dnsfw_fixed"):
        assert log.maps[name].data == before[name]
    policy.apply(plan(302))  # and a good one can still come
    assert tables_in_use(log) == {live_table(log)}


def test_an_error_that_is_not_fullness_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    policy = log.policy()

    def refuse(key: bytes, value: bytes, /) -> None:
        raise BpfError("write to dnsfw_rules", 1)

    monkeypatch.setattr(log.tables["dnsfw_rules"], "update", refuse)

    with pytest.raises(BpfError):
        policy.apply(plan(300))
    assert log.maps["dnsfw_fixed"].data == {}


def test_a_restart_removes_what_an_interrupted_swap_had_built() -> None:
    log = Log()
    log.policy().apply(plan(300))
    stray = abi.FixedKey(160, 1 - live_table(log), HOST, addr_from("10.9.0.0")).pack()
    log.maps["dnsfw_fixed"].update(stray, bytes(abi.Fixed.SIZE))

    log.policy()

    assert tables_in_use(log) == {live_table(log)}


def test_a_restart_knows_which_rules_are_alive_and_kills_the_dead_ones() -> None:
    log = Log()
    log.policy().apply(plan(300, 301))

    log.policy().apply(plan(301))

    assert number_key(300) not in log.maps["dnsfw_rules"].data


def test_lockdown_survives_a_swap_and_a_restart() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    policy.lockdown(Lockdown.HARD)

    policy.apply(plan(301))
    restarted = log.policy()
    restarted.apply(plan(302))

    assert restarted.locked == Lockdown.HARD
    restarted.lockdown(Lockdown.OFF)
    assert log.policy().locked == Lockdown.OFF


def test_lockdown_never_locks_the_self_test() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))

    policy.lockdown(Lockdown.ON)

    probe = abi.Role.unpack(log.maps["dnsfw_roles"].data[number_key(PROBE)])
    assert probe.lockdown == Lockdown.OFF


def test_the_barrier_pauses_where_the_kernel_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(swap.time, "sleep", slept.append)
    monkeypatch.setattr(swap, "_MEMBARRIER_GLOBAL", 1 << 30)  # no such command

    swap.rcu_barrier()

    assert len(slept) == 1


def test_the_barrier_of_this_kernel_needs_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(swap.time, "sleep", slept.append)

    swap.rcu_barrier()

    assert slept == []


def test_a_temporary_rule_stands_with_its_end_and_a_longer_one_is_written() -> None:
    log = Log()
    policy = log.policy()
    table = log.maps["dnsfw_rules"].data

    policy.apply(replace(plan(300, 301), ends=((RuleId(301), 77),)))
    assert (table[number_key(300)], table[number_key(301)]) == (number_key(1), number_key(77))
    log.maps["dnsfw_rules"].update(number_key(301), number_key(1))
    assert policy.verify() == ("dnsfw_rules",)
    assert table[number_key(301)] == number_key(77)

    policy.apply(replace(plan(300, 301), ends=((RuleId(301), 99),)))
    assert table[number_key(301)] == number_key(99)
    assert log.policy().verify() == ()
    policy.apply(plan(300))
    assert number_key(301) not in table


def test_what_is_written_aside_judges_nothing_and_is_no_tampering() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    before = live_table(log), generation(log)
    later = plan(301, 302, fixed=700)

    slices = policy.aside(later)
    steps = 0
    for _ in slices:
        steps += 1
        assert policy.verify() == ()
        assert (live_table(log), generation(log)) == before
    assert steps > 700 // 256
    log.said.clear()

    swapped = policy.begin(later)
    assert log.steps() == [("write", "roles"), ("write", "generation")]
    assert live_table(log) != before[0]
    swapped.settle()
    assert set(log.maps["dnsfw_rules"].data) == {number_key(r) for r in (301, 302, PROBE_RULE)}


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 99])
def test_what_was_written_aside_for_a_plan_that_never_came_is_gone(steps: int) -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    other = policy.aside(plan(301, 302, fixed=700))
    for _, _ in zip(range(steps), other, strict=False):
        pass

    policy.apply(plan(303, fixed=2))

    left = {number_key(303), number_key(PROBE_RULE)}
    assert set(log.maps["dnsfw_rules"].data) == left
    assert tables_in_use(log) == {live_table(log)}
    assert len(log.maps["dnsfw_fixed"].data) == 2 + 2  # and the self-test's
    assert policy.verify() == ()


def test_an_equal_plan_that_is_another_is_written_for_itself() -> None:
    """Only who wrote it aside may count on it."""
    log = Log()
    policy = log.policy()
    policy.apply(plan(300))
    whole(policy.aside(plan(301)))
    log.said.clear()

    policy.begin(plan(301))

    assert ("write", "fixed") in log.steps() and ("delete", "fixed") in log.steps()


def test_the_end_of_a_swap_goes_in_slices_and_another_begin_does_the_rest() -> None:
    log = Log()
    policy = log.policy()
    policy.apply(plan(*range(300, 900), fixed=700))
    first = policy.begin(plan(1000))
    rules = log.maps["dnsfw_rules"].data
    burying = first.bury()
    next(burying)
    assert 2 < len(rules) < 602 and policy.verify() == ()

    whole(first.bury())
    assert set(rules) == {number_key(1000), number_key(PROBE_RULE)}
    finishing = first.finish()
    next(finishing)
    there = len(log.maps["dnsfw_fixed"].data)
    second = policy.begin(plan(1001))
    assert len(log.maps["dnsfw_fixed"].data) < there
    left = dict(log.maps["dnsfw_fixed"].data)
    whole(burying)
    whole(finishing)
    assert log.maps["dnsfw_fixed"].data == left, "the second was not waited for"
    second.settle()
    assert set(rules) == {number_key(1001), number_key(PROBE_RULE)}
    assert tables_in_use(log) == {live_table(log)}
