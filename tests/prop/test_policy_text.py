"""Whatever somebody writes: a policy, or a PolicyError that is safe to print."""

from __future__ import annotations

import contextlib
import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.destination import parse_destination
from dnsfw.policy.explain import explain
from dnsfw.policy.problems import Wrong

PIECES = st.sampled_from(
    ["version: 1\n", "default: deny\n", "default: allow\n", "rules:\n", "  - allow: ", "  - deny: ",
     "x.com", "*.x.com", '"*"', "10.0.0.0/8", "[2001:db8::]/32", ":443", "/tcp", "\n",
     "    note: x\n",
     "dns:\n", "  listen: ", "[", "]", "{", "}", ", ", ": ", "&a ", "*a", "!!str ", "---\n",
     "# x\n", "'", '"', "|", ">", "\t", "ttl: {min: 5s}\n", "<<: ", "? ", "- ", "~", "true",
     "metadata", "\\", "%", "roles:\n", "  web:\n", "    subjects: [", "encrypted-dns"]
)  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 70000), st.text(max_size=6),
    st.sampled_from(["deny", "allow", "own", "80", "8000-8100", "/a", "x.service", "10.0.0.0/8",
                     "eth0", "web", "host", "encrypted-dns", "x.com:443", "5s", "\x00", "\ud800"]),
)  # fmt: skip
KEYS = st.sampled_from(
    ["default", "mode", "rules", "subjects", "inbound", "loopback", "ttl", "note", "roles", "dns",
     "cgroup", "uid", "gid", "source", "interface", "via", "role", "executable", "allow", "deny",
     "min", "web", "db", "host", "takeover", "resolved_only", "bogus", "version"]
)  # fmt: skip
TREE = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=14,
)
SUBJECTS = st.lists(st.dictionaries(KEYS, ODD, max_size=2), max_size=3)
ROLE = st.fixed_dictionaries(
    {}, optional={"subjects": SUBJECTS | TREE, "rules": TREE, "inbound": TREE, "loopback": TREE,
                  "default": ODD, "mode": ODD, "ttl": TREE},
)  # fmt: skip
ALPHABET = "abx019.*+-_:/[],%@\\é。 \t\n\x1b"


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=200)))
@example("a: &a [*a]")
@example("? ? ? ?")
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    try:
        compile_text(text, "p")
    except PolicyError as error:
        lines = str(error).split("\n")
        assert lines
        assert all(line.isprintable() and line.startswith("p") for line in lines)


@settings(max_examples=400, deadline=None)
@given(roles=st.dictionaries(KEYS, ROLE | TREE, max_size=4), rest=st.dictionaries(KEYS, TREE))
def test_any_roles_are_a_policy_or_every_mistake_with_its_place(
    roles: dict[str, object], rest: dict[str, object]
) -> None:
    text = json.dumps({"default": "deny", **rest, "version": 1, "roles": roles})
    try:
        policy = compile_text(text, "p")
    except PolicyError as error:
        lines = str(error).split("\n")
        assert all(line.isprintable() and line.startswith("p:") for line in lines), lines
        return

    names = policy.role_names
    assert len(names) == len(set(names.values())) == 1 + len(roles)
    assert all(subject.role in names for subject in policy.subjects)
    assert list(policy.places) == list(policy.subjects)
    assert {plan.role for plan in policy.plan().roles} == set(names)


@settings(max_examples=500, deadline=None)
@given(st.text(ALPHABET, max_size=40))
def test_any_destination_is_read_back_or_wrong(text: str) -> None:
    try:
        found = parse_destination(text)
    except Wrong as wrong:
        assert wrong.message.isprintable()
        assert wrong.remedy.isprintable()
        return

    assert parse_destination(found.text) == found
    assert found.text.isascii()


@settings(max_examples=300, deadline=None)
@given(st.text(ALPHABET, max_size=40))
def test_explain_answers_or_names_the_mistake(text: str) -> None:
    role = compile_text('version: 1\ndefault: deny\nrules: [{allow: "*", broad: true}]').host

    with contextlib.suppress(ConfigError):
        found = explain(role, text)
        assert found.asked.text.isprintable()
        assert found.shares
