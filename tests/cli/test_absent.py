"""What a policy names and this host has not: notes, never errors, and without root."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from dnsfw.cli import absent as module
from dnsfw.cli.absent import absent
from dnsfw.policy.compile import compile_text


def notes(*subjects: str) -> list[str]:
    listed = f"subjects: [{', '.join(subjects)}]" if subjects else "default: deny"
    return absent(compile_text(f"version: 1\ndefault: deny\nroles: {{web: {{{listed}}}}}", "p"))


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("dnsfw.datapath.cgroup.root", lambda: tmp_path / "cgroup")
    monkeypatch.setattr(module, "UNITS", (tmp_path / "units",))
    (tmp_path / "units").mkdir()
    (tmp_path / "cgroup").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("uid: no-such-user", "there is no uid no-such-user here"),
        ("gid: no-such-group", "there is no gid no-such-group here"),
        ("interface: nosuch0", "there is no interface nosuch0 here"),
        ("via: nosuch0", "there is no via nosuch0 of host here"),
        ("executable: /no/such/file", "there is no executable /no/such/file here"),
        ("cgroup: no-such.service", "there is no cgroup no-such.service here"),
        ("cgroup: /no/such", "there is no cgroup /no/such here"),
    ],
)
def test_what_is_not_here_is_a_note_with_its_place(subject: str, told: str, cgroups: Path) -> None:
    (note,) = notes(subject)

    assert note.startswith("p:3:")
    assert told in note
    assert "judged so once it is there" in note


def test_a_source_on_a_missing_interface_is_a_note(cgroups: Path) -> None:
    assert "on nosuch0 here" in notes("{source: 10.0.0.0/8, interface: nosuch0}")[0]
    assert notes("source: 10.0.0.0/8") == []


def test_what_is_here_is_no_note(cgroups: Path) -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    (cgroups / "units" / "nginx.service").touch()
    (cgroups / "units" / "getty@.service").touch()
    (cgroups / "cgroup" / "box").mkdir()
    (cgroups / "cgroup" / "system.slice").mkdir()

    assert notes(f"uid: {user}", "uid: 54321", "gid: 54321", "executable: /proc/self/exe") == []
    assert notes("cgroup: nginx.service", "cgroup: getty@tty1.service", "cgroup: /box") == []
    assert notes("cgroup: system.slice") == []


def test_a_host_without_cgroups_is_not_blamed_on_the_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dnsfw.errors import DatapathError

    def none() -> Path:
        raise DatapathError("no cgroup version 2")

    monkeypatch.setattr("dnsfw.datapath.cgroup.root", none)

    assert notes("cgroup: /box") == []


def test_a_role_that_nobody_is_in_is_a_note() -> None:
    assert notes() == [
        "p: nobody is in the role 'web': it has no subjects; "
        "`dnsfw enroll --role web --pid P` puts a process into it"
    ]


def test_one_user_in_two_roles_under_two_names_is_a_note() -> None:
    text = "version: 1\ndefault: deny\nroles: {a: {subjects: [uid: root]}, b: {subjects: [uid: 0]}}"
    (note,) = absent(compile_text(text, "p"))

    assert note.startswith("p:3:")
    assert "uid 0 is uid root of the role 'a' (p:3:24)" in note
