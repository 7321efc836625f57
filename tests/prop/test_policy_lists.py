"""Lists beside rules: the short way to a judgement against the long one."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.errors import PolicyError
from dnsfw.model import Name, Reason, Verdict
from dnsfw.policy.compile import compile_text
from dnsfw.policy.lists.columns import NOT_TREE, TREE, Means, Parsed
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.lists.table import Table, build
from dnsfw.policy.matcher import Matcher, settle
from dnsfw.policy.rule import ListName
from dnsfw.wire.name import from_text, ordinary

LABEL = st.sampled_from(["a", "b", "ab", "com"])
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
MEANS = st.sampled_from([
    Means.SELF, Means.BELOW, TREE, Means.NOT_SELF, NOT_TREE, TREE | Means.IMPORTANT,
])  # fmt: skip
ENTRIES = st.lists(st.tuples(NAME, MEANS), min_size=1, max_size=8)
WRITTEN = st.tuples(
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["", ".", "*.", "+.", "a*."]),
    NAME,
    st.sampled_from(["", ":443", ":443/tcp"]),
)
ASKED = st.one_of(
    NAME.map(from_text), NAME.map(lambda name: Name(b"\x03a.b" + from_text(name)))
)


def a_list(number: int, verdict: str, ports: str, entries: list[tuple[str, int]]) -> NameList:
    rule = f'{verdict}: "list.invalid{ports}"'
    base = compile_text(f"version: 1\ndefault: allow\nrules:\n  - {rule}\n").host.rules[-1]
    parsed = Parsed()
    for line, (name, means) in enumerate(entries, 1):
        parsed.add(name, means, line)
    table = Table(memoryview(build(parsed, {"exceptions_first": True})))
    what = ListName(f"{number}.txt")
    return NameList(replace(base, what=what, text=f"{verdict} list {number}"), table, what.text)


@settings(max_examples=300, deadline=None)
@given(
    written=st.lists(WRITTEN, max_size=3),
    lists=st.lists(
        st.tuples(st.sampled_from(["allow", "deny"]), st.sampled_from(["", ":443"]), ENTRIES),
        min_size=1, max_size=3,
    ),
    default=st.sampled_from(["allow", "deny"]),
    names=st.lists(ASKED, min_size=1, max_size=8),
)  # fmt: skip
def test_every_name_is_judged_as_if_all_that_speaks_for_it_had_been_settled(
    written: list[tuple[str, str, str, str]],
    lists: list[tuple[str, str, list[tuple[str, int]]]],
    default: str,
    names: list[Name],
) -> None:
    lines = "".join(
        f'  - {v}: "{kind}{name}{ports}"\n' + "    broad: true\n" * (v == "allow")
        for v, kind, name, ports in written
    )
    lines += "  - deny: never.invalid\n"
    try:
        host = compile_text(f"version: 1\ndefault: {default}\nrules:\n{lines}").host
    except PolicyError:
        return  # a contradiction, which is tested elsewhere
    made = [a_list(number, *one) for number, one in enumerate(lists)]
    matcher = Matcher(host.rules, host.default, made)

    for name in [*names, *names]:  # the second time from memory
        found = matcher.judge(name)
        if host.default is Verdict.DENY and not ordinary(name):
            assert not found.answered or found.rule is None
            assert all(share.verdict is Verdict.DENY for share in found.shares)
            continue
        expected = settle(matcher.ranked(name), host.default)
        assert found == expected
        assert (found.reason is Reason.BY_NAME) == (expected.rule is not None)
