"""Each check finds its fault and says the remedy; hosts are made of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dnsfw.datapath.backend import Loaded
from dnsfw.datapath.checks import Check, Host
from dnsfw.datapath.doctor import examine
from dnsfw.errors import DatapathError

ALL_CAPABILITIES = "CapEff:\t000001ffffffffff\n"
NO_CAPABILITIES = "CapEff:\t0000000000000000\n"
BPF_AND_NET_ADMIN = f"CapEff:\t{1 << 39 | 1 << 12:016x}\n"


class Loads:
    name = "libbpf"

    def load(self, reuse: Mapping[str, int]) -> Loaded:
        return Loaded({}, {}, True)


class Refuses:
    name = "libbpf"

    def load(self, reuse: Mapping[str, int]) -> Loaded:
        raise DatapathError("load of the kernel programs: EPERM\n0: (bf) r6 = r1")


def raising(error: Exception) -> object:
    def call(*_: object) -> object:
        raise error

    return call


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """One with nothing to complain about."""
    files = {
        "proc/self/status": ALL_CAPABILITIES,
        "proc/sys/net/core/bpf_jit_enable": "1\n",
        "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
        "sys/kernel/btf/vmlinux": "",
        "etc/resolv.conf": "# dnsfw\nnameserver 127.0.53.53\n",
        "etc/nsswitch.conf": "passwd: files\nhosts: files dns\n",
        "etc/hosts": "127.0.0.1 localhost\n::1 ip6-localhost\n",
        "cgroup/cgroup.procs": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o644)
    return Host(
        root=tmp_path,
        release="6.12.1-amd64",
        cgroup_root=lambda: tmp_path / "cgroup",
        find_mount=lambda kind: Path("/sys/fs/bpf") if kind == "bpf" else None,
        has_tcx=lambda: True,
        has_netns_cookie=lambda: True,
        has_receive_mark=lambda: True,
        load_library=lambda _: None,
        backend=Loads(),
    )


def check(host: Host, name: str) -> Check:
    return next(c for c in examine(host=host) if c.name == name)


def test_a_good_host_has_nothing_to_mend(host: Host) -> None:
    assert [c for c in examine(host=host) if not c.ok] == []


@pytest.mark.parametrize(
    ("release", "ok"),
    [("6.1.0", True), ("6.0.9", False), ("5.15.0-91", False), ("7.0-rc1", True), ("odd", False)],
)
def test_the_kernels_version_is_compared_as_numbers(host: Host, release: str, ok: bool) -> None:
    found = check(replace(host, release=release), "kernel")

    assert found.ok is ok
    assert found.vital


def test_missing_capabilities_are_named_one_by_one(host: Host) -> None:
    (host.root / "proc/self/status").write_text(NO_CAPABILITIES)

    missing = {c.name for c in examine(host=host) if not c.ok}

    assert {"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_NET_RAW"} <= missing
    assert "CAP_NET_RAW" in check(host, "CAP_NET_RAW").remedy


def test_a_capability_that_is_held_is_not_complained_about(host: Host) -> None:
    (host.root / "proc/self/status").write_text(BPF_AND_NET_ADMIN)

    assert check(host, "CAP_BPF").ok
    assert not check(host, "CAP_NET_RAW").ok
    assert not check(host, "CAP_NET_RAW").vital


def test_the_old_admin_right_stands_for_the_new_ones(host: Host) -> None:
    (host.root / "proc/self/status").write_text(f"CapEff:\t{1 << 21:016x}\n")

    assert check(host, "CAP_BPF").ok
    assert not check(host, "CAP_NET_ADMIN").ok


def test_row_43_only_version_1_loses_eperm_and_offers_the_devices(host: Host) -> None:
    error = DatapathError("only cgroup version 1; remedy: use --interface")

    found = check(replace(host, cgroup_root=raising(error)), "cgroup2")

    assert (found.ok, found.remedy) == (False, "use --interface")
    assert "EPERM" in found.lost


def test_row_43_a_hybrid_host_is_fine_but_is_told_about_units(host: Host) -> None:
    found = check(replace(host, find_mount=lambda kind: Path("/somewhere")), "cgroup2")

    assert found.ok
    assert "beside version 1" in found.detail


def test_row_54_a_refused_program_shows_the_first_line_only(host: Host) -> None:
    found = check(replace(host, backend=Refuses()), "programs")

    assert (found.ok, found.vital) == (False, True)
    assert found.detail == "load of the kernel programs: EPERM"


def test_row_54_lockdown_confidentiality_is_recognised(host: Host) -> None:
    (host.root / "sys/kernel/security").mkdir(parents=True)
    (host.root / "sys/kernel/security/lockdown").write_text("none integrity [confidentiality]\n")

    assert "confidentiality" in check(replace(host, backend=Refuses()), "programs").remedy


def test_row_54_every_missing_feature_says_which_promise_is_lost(host: Host) -> None:
    poor = replace(
        host,
        release="5.4",
        cgroup_root=raising(DatapathError("none; remedy: x")),
        find_mount=lambda kind: None,
        has_tcx=lambda: False,
        has_netns_cookie=lambda: False,
        load_library=raising(OSError("not found")),
        backend=Refuses(),
    )
    for path in ("proc/self/status", "sys/kernel/btf/vmlinux", "etc/resolv.conf"):
        (host.root / path).unlink()

    bad = [c for c in examine(host=poor) if not c.ok]

    assert {"kernel", "libbpf", "programs", "cgroup2", "bpffs", "TCX", "netns cookie"} <= {
        c.name for c in bad
    }
    assert [c.name for c in bad if not c.remedy or not c.lost] == []


def test_a_helper_probe_that_fails_is_a_missing_helper(host: Host) -> None:
    refused = replace(host, has_netns_cookie=raising(DatapathError("EPERM")))

    assert not check(refused, "netns cookie").ok


def test_jit_off_and_unprivileged_bpf_on_are_told(host: Host) -> None:
    (host.root / "proc/sys/net/core/bpf_jit_enable").write_text("0\n")
    (host.root / "proc/sys/kernel/unprivileged_bpf_disabled").write_text("0\n")

    assert not check(host, "BPF JIT").ok
    assert not check(host, "unprivileged BPF").ok


def test_a_mount_reached_round_about_is_shown_where_people_know_it(host: Host) -> None:
    reached = replace(
        host,
        cgroup_root=lambda: Path("/proc/7/fd/3/sys/fs/cgroup"),
        find_mount=lambda kind: Path("/proc/7/fd/3/sys/fs/bpf") if kind == "bpf" else None,
    )

    assert check(reached, "cgroup2").detail == "/sys/fs/cgroup"
    assert check(reached, "bpffs").detail == "/sys/fs/bpf"


def test_row_54_a_sandbox_that_refuses_query_marks_loses_the_asker(host: Host) -> None:
    found = check(replace(host, has_receive_mark=lambda: False), "query marks")

    assert (found.ok, found.level) == (False, "warn")
    assert "sender" in found.lost


def test_row_54_each_level_says_how_bad_it_is(host: Host) -> None:
    (host.root / "proc/self/status").write_text(NO_CAPABILITIES)

    levels = {c.name: c.level for c in examine(host=host)}

    assert levels["CAP_BPF"] == "fail"
    assert levels["CAP_SYS_ADMIN"] == "warn"
    assert levels["kernel"] == "ok"


@pytest.mark.parametrize(
    ("processes", "ok"),
    [("12:name=systemd:/init.scope\n0::/\n", False), ("0::/init.scope\n", True),
     ("12:name=systemd:/init.scope\n0::/init.scope\n", True), ("", True)],
)  # fmt: skip
def test_row_43_units_of_a_host_that_keeps_them_in_version_1_are_not_found(
    host: Host, processes: str, ok: bool
) -> None:
    (host.root / "proc/1").mkdir()
    (host.root / "proc/1/cgroup").write_text(processes)

    assert check(host, "systemd units").ok is ok
