from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnsfw.model import HOST, PROBE
from dnsfw.policy.compile import compile_text
from dnsfw.policy.role_ids import FIRST, assign_ids

NAMES = st.lists(st.text("abcdef0123456789", min_size=1, max_size=6), unique=True, max_size=240)


def test_an_id_is_a_hash_of_the_name_so_that_no_journal_is_needed() -> None:
    assert assign_ids(["web", "db"]) == {"web": 56, "db": 195}  # golden: they are in kernels
    assert assign_ids(["db", "web"]) == assign_ids(["web", "db"])


def test_a_name_that_is_known_keeps_its_id() -> None:
    assert assign_ids(["web", "db"], {"web": 200})["web"] == 200
    assert assign_ids(["web", "db"], {"web": 195}) == {"web": 195, "db": 196}


def test_the_id_of_a_name_that_is_gone_is_given_away_last() -> None:
    (web,) = assign_ids(["web"]).values()

    assert assign_ids(["web"], {"old": web})["web"] == web + 1
    full = {f"old{n}": FIRST + n for n in range(240)}
    assert assign_ids(["web"], full)["web"] == web


def test_a_journal_that_says_nonsense_is_not_believed() -> None:
    known = {"web": 1, "db": 0, "app": 256, "one": 77, "two": 77}
    found = assign_ids(["web", "db", "app", "one", "two"], known)

    assert all(FIRST <= number <= 255 for number in found.values())
    assert len(set(found.values())) == 5
    assert found["one"] == 77


@given(names=NAMES, gone=NAMES)
def test_ids_are_distinct_stable_and_never_a_built_in_one(
    names: list[str], gone: list[str]
) -> None:
    before = assign_ids(gone)
    found = assign_ids(names, before)

    assert set(found) == set(names)
    assert len(set(found.values())) == len(names)
    assert all(FIRST <= number <= 255 for number in found.values())
    assert all(found[name] == before[name] for name in names if name in before)
    assert assign_ids(names, {**before, **found}) == found


def test_a_policy_takes_what_is_known() -> None:
    text = "version: 1\ndefault: deny\nroles: {web: {default: deny}}"
    policy = compile_text(text, known={"web": 99})

    assert policy.role_id("web") == 99
    assert policy.role_ids == {"web": 99}
    assert policy.role_names == {HOST: "host", 99: "web"}
    assert PROBE not in policy.role_names


def test_240_roles_fit_and_one_more_is_an_error() -> None:
    import pytest

    from dnsfw.errors import PolicyError

    text = "version: 1\ndefault: deny\nroles: {%s}"
    fits = text % ", ".join(f"r{n}: {{default: deny}}" for n in range(240))
    assert len(compile_text(fits).roles) == 241
    more = text % ", ".join(f"r{n}: {{default: deny}}" for n in range(241))
    with pytest.raises(PolicyError, match="241 roles, 240 fit; join roles"):
        compile_text(more)
