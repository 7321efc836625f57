"""Whatever somebody writes: a policy, or a PolicyError that is safe to print."""

from __future__ import annotations

import contextlib

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
     "metadata", "\\", "%"]
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
