"""What is left out of every format, and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.policy.compile import compile_text, load
from dnsfw.policy.exporters import FORMATS, export
from dnsfw.policy.exporters.outcome import Exported, Left
from dnsfw.policy.importers import Kept


def made(form: str, rules: str, head: str = "default: allow") -> Exported:
    policy = compile_text(f"version: 1\n{head}\nrules:\n{rules}", "p.yaml")
    return export(FORMATS[form], policy.host)


@pytest.mark.parametrize(
    ("head", "rules", "says"),
    [
        ("default: allow\nmode: audit", "  - deny: x.example\n", "mode: audit"),
        ("default: allow\nresolved_only: true", "  - deny: x.example\n", "resolved_only"),
        ("default: allow", "  - deny: [x.example, metadata]\n", "deny: metadata"),
        ("default: allow", "  - deny: [x.example, encrypted-dns]\n", "encrypted-dns"),
    ],
)
@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_setting_that_no_format_has_is_lost(form: str, head: str, rules: str, says: str) -> None:
    assert says in [found.source for found in made(form, rules, head).lost]


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_list_of_its_own_is_not_copied(form: str, tmp_path: Path) -> None:
    (tmp_path / "l").write_text("x.example\n")
    (tmp_path / "p.yaml").write_text("version: 1\ndefault: allow\nrules:\n  - deny: {list: l}\n")

    done = export(FORMATS[form], load(tmp_path / "p.yaml").host)

    assert any("hand that file on" in found.became for found in done.lost)


def test_an_option_is_noted_and_the_rule_kept() -> None:
    done = made("plain", "  - deny: .x.example\n    close: asked\n  - deny: y.example\n"
                         "    shared: deny\n")  # fmt: skip

    assert [f.kept for f in done.findings if "'" in f.became] == [Kept.NOTED, Kept.NOTED]
    assert "y.example" in done.text


def test_a_rule_that_says_what_the_default_says_matters_where_it_takes_something() -> None:
    done = made("wildcard", "  - deny: .x.example\n  - allow: a.x.example\n  - allow: y.example\n")

    assert [(f.source, f.kept) for f in done.findings] == [
        ("allow a.x.example", Kept.LOST), ("allow y.example", Kept.NOTED),
    ]  # fmt: skip


def test_findings_stand_in_the_order_of_the_file() -> None:
    done = made("plain", "  - deny: '*.b.example'\n  - deny: '*.a.example'\n")

    assert [found.line for found in done.findings] == [4, 5]
    assert Left().findings == []
