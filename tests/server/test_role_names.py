"""A name keeps its number over reloads and restarts, whatever happens to the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.server.role_names import RoleNames


def policy_of(*names: str, known: dict[str, int] | None = None) -> Policy:
    roles = "".join(
        f"  {name}: {{subjects: [{{uid: {n}}}], default: deny, rules: [{{allow: x.example}}]}}\n"
        for n, name in enumerate(names, start=1)
    )
    text = "version: 1\ndefault: deny\nrules: [{allow: a.example}]\n"
    return compile_text(f"{text}roles:\n{roles}" if names else text, known=known)


def ids(policy: Policy) -> dict[str, int]:
    return {role.name: int(n) for n, role in policy.roles.items() if n >= 16}


def test_a_name_keeps_its_number_over_a_restart(tmp_path: Path) -> None:
    first = policy_of("web", "db")
    RoleNames(tmp_path).take(first)

    again = RoleNames(tmp_path)

    assert again.known == ids(first)
    assert ids(policy_of("new", "db", "web", known=dict(again.known))).items() >= ids(first).items()


def test_a_name_that_was_away_finds_its_number_again(tmp_path: Path) -> None:
    names = RoleNames(tmp_path)
    first = policy_of("web", "db")
    names.take(first)
    names.take(policy_of("db", known=dict(names.known)))

    assert names.text(ids(first)["web"]) == "web"  # a flow of it may still be shown
    assert ids(policy_of("web", known=dict(names.known)))["web"] == ids(first)["web"]


def test_a_number_that_is_handed_on_has_one_name(tmp_path: Path) -> None:
    names = RoleNames(tmp_path)
    names.take(policy_of("web", known={"web": 99}))
    names.take(policy_of("db", known={"db": 99}))

    assert names.known == {"db": 99}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"web": "x", "db": 3, "big": 999}',
     b"[" * 20_000, b'{"web": true}'],
)  # fmt: skip
def test_a_list_that_is_damaged_is_no_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "roles.json").write_bytes(content)

    assert RoleNames(tmp_path).known == {}


def test_a_disk_that_is_full_is_counted_and_survived(tmp_path: Path) -> None:
    names = RoleNames(tmp_path / "missing")
    names.take(policy_of("web"))

    assert names.failed == 1
    assert "web" in names.known


def test_nobody_else_may_read_the_list(tmp_path: Path) -> None:
    RoleNames(tmp_path).take(policy_of("web"))

    assert (tmp_path / "roles.json").stat().st_mode & 0o777 == 0o600


def test_host_needs_no_list(tmp_path: Path) -> None:
    names = RoleNames(tmp_path)
    names.take(policy_of())

    assert list(tmp_path.iterdir()) == []
    assert (names.text(1), names.text(0), names.text(77)) == ("host", "none", "77")


def test_what_is_removed_is_forgotten(tmp_path: Path) -> None:
    names = RoleNames(tmp_path)
    names.take(policy_of("web"))
    names.remove()
    names.remove()

    assert RoleNames(tmp_path).known == {}
