"""The kernel seam over the real wall: what is decided before any kernel is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.datapath import mounts
from dnsfw.datapath.attach import WallConfig
from dnsfw.errors import ConfigError
from dnsfw.model import HOST, RoleId, Subject, SubjectKind
from dnsfw.policy.compile import load
from dnsfw.server import wall
from dnsfw.server.options import Options


def test_the_pin_directory_is_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNSFW_PIN_DIR", "/sys/fs/bpf/mine")

    assert wall.pin_dir(Options()) == Path("/sys/fs/bpf/mine")


def test_removing_nothing_mounts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DNSFW_PIN_DIR", raising=False)
    monkeypatch.setattr(mounts, "where", lambda kind: None)
    monkeypatch.setattr(mounts, "bpffs", lambda: pytest.fail("mounted"))

    assert not wall.remove_wall(Options())


@pytest.mark.parametrize(
    ("options", "host"),
    [
        (Options(), True),
        (Options(cgroup="/x"), False),
        (Options(interfaces=("eth0",)), False),
    ],
)
def test_up_alone_guards_the_host(options: Options, host: bool) -> None:
    assert wall._guards_host(options) is host


def test_loopback_is_not_among_the_guarded_devices() -> None:
    assert "lo" not in wall.every_device()


def test_the_backend_is_the_one_that_was_asked_for() -> None:
    assert wall._backend("libbpf").name == "libbpf"


@pytest.mark.parametrize(
    ("subject", "cgroup", "interfaces", "says"),
    [
        (Subject(RoleId(16), SubjectKind.VIA, "eth1", base=HOST), "/x", ("eth0",), "eth1"),
        (Subject(RoleId(16), SubjectKind.UID, "33"), None, ("eth0",), "--cgroup"),
        (Subject(RoleId(16), SubjectKind.GID, "33"), None, ("eth0",), "--cgroup"),
        (Subject(RoleId(16), SubjectKind.VIA, "eth0", base=HOST), "/x", ("eth0",), ""),
        (Subject(RoleId(16), SubjectKind.UID, "33"), "/x", (), ""),
        (Subject(RoleId(16), SubjectKind.CGROUP, "/a"), None, ("eth0",), ""),
    ],
)
def test_a_subject_that_no_hook_could_tell_is_refused(
    subject: Subject, cgroup: str | None, interfaces: tuple[str, ...], says: str
) -> None:
    top = Path(cgroup) if cgroup is not None else None
    config = WallConfig(wall._backend("libbpf"), Path("/p"), top, interfaces)

    if not says:
        wall.check_reach([subject], config, every_device=False)
        return
    with pytest.raises(ConfigError, match=says):
        wall.check_reach([subject], config, every_device=False)


def test_a_wall_on_every_device_reaches_every_way_out() -> None:
    via = Subject(RoleId(16), SubjectKind.VIA, "eth7", base=HOST)

    wall.check_reach([via], WallConfig(wall._backend("libbpf"), Path("/p")), every_device=True)


def test_takeover_without_sockets_to_hook_is_refused_not_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    head = "version: 1\ndefault: deny\nrules: [allow: a.example]\n"
    file.write_text(f"{head}dns: {{takeover: true}}\n")
    options = Options(interfaces=("eth0",), pin_dir=str(tmp_path))

    policy = load(file)

    with pytest.raises(ConfigError, match="--interface alone"):
        wall.check_dns(policy, wall._config(options, policy))


def test_xdp_where_nobody_is_a_guest_is_refused_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    role = "roles: {web: {default: deny, subjects: [{interface: veth1}]}}\n"
    config = WallConfig(wall._backend("libbpf"), Path("/p"), Path("/x"))

    for name, on, good in (("veth1", "on", True), ("eth0", "off", True), ("eth0", "on", False)):
        dns = f"dns: {{xdp: [{name}], kernel_answers: {on}}}\n"
        file.write_text(f"version: 1\ndefault: deny\n{role}{dns}")
        if good:
            wall.check_dns(load(file), config)
            continue
        with pytest.raises(ConfigError, match=r"names eth0, where .* \[\{interface: eth0\}\]"):
            wall.check_dns(load(file), config)
