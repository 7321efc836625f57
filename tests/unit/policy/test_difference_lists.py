from __future__ import annotations

from pathlib import Path

from dnsfw.policy.compile import load
from dnsfw.policy.difference_lists import list_changes, lists_read_anew

POLICY = "version: 1\ndefault: allow\nrules: [deny: {list: ads.txt}]\n"


def policy(directory: Path, names: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "ads.txt").write_text(names)
    (directory / "p.yaml").write_text(POLICY)
    return directory / "p.yaml"


def test_what_a_list_gained_and_lost_is_counted(tmp_path: Path) -> None:
    old = load(policy(tmp_path / "a", "one.example\ntwo.example\n"))
    new = load(policy(tmp_path / "b", "two.example\nthree.example\nfour.example\n"))

    assert list_changes(old, new) == ["~ deny list ads.txt: 2 entries -> 3 (+2 -1)"]


def test_the_same_names_in_another_order_are_no_change(tmp_path: Path) -> None:
    old = load(policy(tmp_path / "a", "one.example\ntwo.example\n"))
    new = load(policy(tmp_path / "b", "# new\ntwo.example\none.example\n"))

    assert list_changes(old, new) == []
    assert list_changes(old, old) == []


def test_that_a_file_has_changed_is_told_without_a_look_at_its_names(tmp_path: Path) -> None:
    old = load(policy(tmp_path / "a", "one.example\ntwo.example\n"))
    more = load(policy(tmp_path / "b", "two.example\nthree.example\nfour.example\n"))
    others = load(policy(tmp_path / "c", "two.example\nthree.example\n"))
    same = load(policy(tmp_path / "d", "one.example\ntwo.example\n"))

    said = "~ deny list ads.txt: its file has changed, "
    assert lists_read_anew(old, more) == [f"{said}2 -> 3 entries"]
    assert lists_read_anew(old, others) == [f"{said}still 2 entries"]
    assert lists_read_anew(old, same) == []
