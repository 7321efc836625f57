"""Row 137: what is kept of who asked, by the policy's own words."""

from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text, diff

HEAD = "version: 1\ndefault: deny\n"


def error(text: str) -> str:
    with pytest.raises(PolicyError) as raised:
        compile_text(HEAD + text, "p")
    return str(raised.value)


def test_row_137_nothing_is_kept_unless_the_policy_says_so() -> None:
    log = compile_text(HEAD).log

    assert not log.writes
    assert not compile_text(HEAD + "log: {retention: 1d}").log.writes


def test_row_137_retention_hash_and_opt_out_are_read() -> None:
    roles = "roles: {kids: {default: deny}}\n"
    text = roles + "log: {names: all, retention: 3d, hash: true, without: [kids]}"
    log = compile_text(HEAD + text).log

    assert (log.names, log.retention, log.hash) == ("all", 3 * 86400, True)
    assert log.without == {"kids"}
    assert log.writes


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("retention: 1m", "'retention' is 1h to 400d; write 7d"),
        ("retention: 500d", "'retention' is 1h to 400d"),
        ("size: 10K", "'size' is 1M at least"),
        ("without: [kid]", "no role 'kid'; there are host"),
        ("directory: logs", "'logs' is no absolute path"),
    ],
)
def test_what_cannot_be_is_an_error_at_its_place(log: str, says: str) -> None:
    told = error(f"log: {{{log}}}")

    assert says in told
    assert told.startswith("p:3:")


def test_a_change_of_the_log_is_told_by_a_reload() -> None:
    old = compile_text(HEAD)
    new = compile_text(HEAD + "log: {names: refused, hash: true}")

    assert diff(old, new) == ["~ log.names: off -> refused", "~ log.hash: false -> true"]
