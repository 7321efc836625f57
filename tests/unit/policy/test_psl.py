from __future__ import annotations

from pathlib import Path

import pytest
from publicsuffixlist import PSLFILE, PublicSuffixList

from dnsfw.policy.problems import Wrong
from dnsfw.policy.psl import _NEVER_DELEGATED, anybody_registers_below, fold_dots, to_ascii


@pytest.mark.parametrize("suffix", ["", "com", "co.uk", "github.io", "kawasaki.jp", "nosuchtld"])
def test_strangers_register_below_public_suffixes_and_unknown_top_names(suffix: str) -> None:
    assert anybody_registers_below(suffix)


@pytest.mark.parametrize("suffix", ["example.com", "city.kawasaki.jp", "internal", "home.arpa"])
def test_strangers_do_not_register_below_names_that_somebody_owns(suffix: str) -> None:
    assert not anybody_registers_below(suffix)


def test_row_88_u_labels_become_a_labels() -> None:
    assert to_ascii("bücher") == "xn--bcher-kva"
    assert to_ascii("BÜCHER") == "xn--bcher-kva"
    assert to_ascii("straße") == "xn--strae-oqa"  # non-transitional
    assert to_ascii("g\u0456thub") != "github"  # a Cyrillic letter
    assert to_ascii("plain") == "plain"


@pytest.mark.parametrize("label", ["a\u202eb", "☃️" * 40])
def test_what_is_no_idn_label_is_wrong(label: str) -> None:
    with pytest.raises(Wrong, match="IDN"):
        to_ascii(label)


def test_ideographic_and_full_width_dots_are_dots() -> None:
    assert fold_dots("a。b．c｡d") == "a.b.c.d"  # noqa: RUF001


def test_the_whole_list_is_read_as_its_library_reads_it() -> None:
    library = PublicSuffixList(accept_unknown=False)
    lines = Path(PSLFILE).read_text(encoding="utf-8").splitlines()
    rules = {line.split()[0] for line in lines if line.strip() and not line.startswith("//")}
    asked = set()
    for rule in rules:
        plain = rule.removeprefix("!").removeprefix("*.")
        ascii_only = ".".join(label.encode("idna").decode() for label in plain.split("."))
        labels = ascii_only.split(".")
        asked |= {".".join(labels[at:]) for at in range(len(labels))}
        asked |= {f"www.{ascii_only}", f"a.b.{ascii_only}", f"x{ascii_only}", f"{ascii_only}.net"}
    asked = {suffix for suffix in asked if "." in suffix and suffix not in _NEVER_DELEGATED}

    wrong = [s for s in asked if anybody_registers_below(s) != library.is_public(s)]

    assert len(asked) > 30_000
    assert wrong == []


@pytest.mark.parametrize("suffix", [".", "a..com", "com.", "!www.ck", "*.ck", "a\nb.ck", "= .ck"])
def test_what_is_no_name_is_nobody_s_suffix_and_no_error(suffix: str) -> None:
    anybody_registers_below(suffix)
