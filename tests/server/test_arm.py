"""`arm`: the wall is built, filled, proved and left; a failure leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dnsfw.datapath.abi import Verdict
from dnsfw.errors import ConfigError, DatapathError, PolicyError
from dnsfw.model import HOST, addr_from
from dnsfw.server.arm import arm
from dnsfw.server.armed import is_armed
from dnsfw.server.clock import boot_now
from dnsfw.server.lock import AlreadyRunning, Lock
from dnsfw.server.options import Options
from dnsfw.server.role_names import RoleNames
from tests.support.memory_kernel import MemoryKernel

POLICY = """\
version: 1
default: deny
rules: [{allow: www.example.com}, {allow: 192.0.2.7:443}]
roles: {web: {subjects: [{uid: 33}]}}
"""


@pytest.fixture
def options(tmp_path: Path) -> Options:
    (tmp_path / "policy.yaml").write_text(POLICY)
    return Options(policy=str(tmp_path / "policy.yaml"), run_dir=tmp_path / "run")


def judge(kernel: MemoryKernel, address: str) -> Verdict:
    return kernel.sink.judge(HOST, addr_from(address), 6, 443, boot_now())[0]


def test_address_rules_hold_and_names_are_closed(options: Options) -> None:
    kernel = MemoryKernel()

    done = arm(options, kernel.open, stands=False)

    assert done.stood is False
    assert judge(kernel, "192.0.2.7") is Verdict.ALLOW
    assert judge(kernel, "192.0.2.8") is Verdict.DENY
    assert (kernel.listening, kernel.owned) == ((), [])
    assert [subject.value for subject in kernel.subjects] == ["33"]


def test_the_wall_is_proved_and_left_standing(options: Options) -> None:
    kernel = MemoryKernel()

    arm(options, kernel.open, stands=False)

    assert (kernel.probes, kernel.closed, kernel.standing) == (1, True, True)
    assert is_armed(options.run_dir)


def test_a_wall_that_does_not_hold_is_taken_down_again(options: Options) -> None:
    kernel = MemoryKernel()
    kernel.trouble = DatapathError("the wall does not hold")

    with pytest.raises(DatapathError):
        arm(options, kernel.open, stands=False)

    assert (kernel.closed, kernel.standing) == (True, False)
    assert not is_armed(options.run_dir)


def test_a_wall_that_stands_is_left_as_it_is(options: Options) -> None:
    def never(*_: object) -> Any:
        raise AssertionError("the wall was opened")

    assert arm(options, never, stands=True).stood
    assert not is_armed(options.run_dir)


def test_roles_keep_the_numbers_that_arm_gave_them(options: Options) -> None:
    kernel = MemoryKernel()

    arm(options, kernel.open, stands=False)

    assert RoleNames(options.run_dir).known == {"web": kernel.subjects[0].role}


def test_what_is_missing_is_told(options: Options) -> None:
    kernel = MemoryKernel()
    kernel.missing = ("uid 33",)

    assert arm(options, kernel.open, stands=False).unassigned == ("uid 33",)


def test_a_daemon_that_runs_is_not_disturbed(options: Options) -> None:
    lock = Lock(options.run_dir)
    try:
        with pytest.raises(AlreadyRunning):
            arm(options, MemoryKernel().open, stands=False)
    finally:
        lock.release()


def test_a_bad_policy_arms_nothing(options: Options) -> None:
    Path(str(options.policy)).write_text("version: 1\ndefault: maybe\n")
    kernel = MemoryKernel()

    with pytest.raises(PolicyError):
        arm(options, kernel.open, stands=False)

    assert not kernel.closed
    with pytest.raises(ConfigError):
        arm(Options(policy="/nonexistent", run_dir=options.run_dir), kernel.open, stands=False)
