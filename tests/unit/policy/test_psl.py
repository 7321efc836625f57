from __future__ import annotations

import pytest

from dnsfw.policy.problems import Wrong
from dnsfw.policy.psl import anybody_registers_below, fold_dots, to_ascii


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
