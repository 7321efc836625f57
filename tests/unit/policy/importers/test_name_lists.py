"""Lists as whole policies."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.importers import FORMATS, Imported, Kept
from dnsfw.policy.importers.name_lists import ABOUT, INLINE, reader
from dnsfw.policy.lists.formats import PLAIN_NAMES, Format
from dnsfw.policy.problems import Problems
from dnsfw.wire.name import from_text


def made(kind: str, text: str, *, allow: bool = False, file: str = "l") -> Imported:
    found = reader(Format(kind), allow)(text, file, problems := Problems())
    problems.stop_if_any()
    assert found is not None
    return found


def test_every_format_of_a_list_can_be_imported() -> None:
    assert {kind.value for kind in Format} <= set(FORMATS)
    assert set(ABOUT) == set(Format)


@pytest.mark.parametrize(
    ("kind", "text", "rules"),
    [
        ("plain", "x.example\n", ["x.example"]),
        ("hosts", "0.0.0.0 x.example y.example\n", ["x.example", "y.example"]),
        ("wildcard", "*.x.example\nx.example\n", ["*.x.example", "x.example"]),
        ("adblock", "||x.example^\n", [".x.example"]),
        ("rpz", "x.example CNAME .\n*.x.example CNAME .\n", ["x.example", "*.x.example"]),
        ("dnsmasq", "address=/x.example/\n", [".x.example"]),
        ("cidr", "192.0.2.0/24\n2001:db8::/32\n", ["192.0.2.0/24", "[2001:db8::]/32"]),
    ],
)
def test_a_line_becomes_what_the_table_says(kind: str, text: str, rules: list[str]) -> None:
    done = made(kind, text)
    policy = compile_text(done.text)

    assert done.lost == () and policy.host.default is Verdict.ALLOW
    assert [rule.text for rule in policy.host.rules] == [f"deny {rule}" for rule in rules]


def test_an_allow_list_closes_the_rest() -> None:
    policy = compile_text(made("plain", "x.example\n", allow=True).text)

    assert policy.host.default is Verdict.DENY
    assert policy.host.judge(from_text("x.example")).answered


@pytest.mark.parametrize("kind", sorted(kind.value for kind in PLAIN_NAMES))
def test_with_suffix_a_plain_name_means_all_below_it_too(kind: str) -> None:
    lines = "0.0.0.0 x.example\n" if kind == "hosts" else "x.example\n"
    read = reader(Format(kind), allow=False, suffix=True)

    done = read(lines, "l", Problems())

    assert done is not None
    assert [rule.text for rule in compile_text(done.text).host.rules] == ["deny .x.example"]


def test_a_long_list_keeps_that_meaning(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("".join(f"n{i}.example\n" for i in range(INLINE + 1)))

    done = reader(Format.PLAIN, allow=False, suffix=True)(path.read_text(), str(path), Problems())

    assert done is not None
    assert "as: suffix" in done.text
    judged = compile_text(done.text, str(tmp_path / "p.yaml")).host.judge(from_text("a.n7.example"))
    assert judged.verdict is Verdict.DENY


def test_a_long_list_and_one_with_exceptions_are_named_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "list"
    for text in (
        "".join(f"||a{n}.example^\n" for n in range(INLINE + 1)),
        "||x.example^\n@@||a.x.example^\n", "||x.example^$important\n",
    ):  # fmt: skip
        path.write_text(text)

        done = made("adblock", text, file=str(path))

        assert f'list: "{path}"' in done.text and "format: adblock" in done.text
        assert compile_text(done.text, str(tmp_path / "p.yaml")).host.lists


def test_a_line_that_is_no_rule_is_lost_with_its_number() -> None:
    done = made("hosts", "0.0.0.0 x.example\n192.168.1.1 printer.example\n0.0.0.0 com\n")

    assert [f.line for f in done.lost] == [2, 3]


def test_a_set_is_open_only_where_somebody_says_so() -> None:
    text = "nftset=/x.example/4#inet#t#s\naddress=/y.example/\n"

    deny, allow = made("dnsmasq", text), made("dnsmasq", text, allow=True)

    assert [f.line for f in deny.lost] == [1] and ".x.example" not in deny.text
    assert [f.line for f in allow.lost] == [2] and ".y.example" not in allow.text
    with pytest.raises(PolicyError, match="--allow"):
        made("dnsmasq", text + "".join(f"address=/a{n}.example/\n" for n in range(INLINE)))


def test_a_list_without_a_rule_is_an_error_with_its_first_lines() -> None:
    with pytest.raises(PolicyError, match=r"l:1:1: no line is one of the format rpz"):
        made("rpz", "nonsense here\n")


def test_what_is_denied_by_name_is_closed_by_address_and_says_so() -> None:
    notes = [f for f in made("plain", "x.example\n").findings if f.kept is Kept.NOTED]

    assert "closed too" in notes[0].became
