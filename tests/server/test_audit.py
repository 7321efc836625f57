"""Audit is never quiet (row 140)."""

from __future__ import annotations

from pathlib import Path

from dnsfw.model import SECOND, Nanos
from dnsfw.policy.compile import compile_text
from dnsfw.policy.policy import Policy
from dnsfw.server.audit import AuditReminder, audit_text, audited_roles
from tests.support.running import running

ROLES = """\
version: 1
default: deny
rules: [{allow: a.example}]
roles:
  web: {subjects: [{uid: 4241}], mode: audit, default: deny, rules: [{allow: b.example}]}
  db: {subjects: [{uid: 4242}], default: deny, rules: [{allow: c.example}]}
"""


def policy_of(text: str = ROLES) -> Policy:
    return compile_text(text)


def test_row_140_the_roles_that_only_watch_are_named() -> None:
    two = ROLES.replace("4242}], default", "4242}], mode: audit, default")

    assert audited_roles(policy_of()) == ("web",)
    assert audit_text(policy_of()) == "AUDIT: nothing is refused to role web"
    assert set(audited_roles(policy_of(two))) == {"web", "db"}
    assert audit_text(policy_of(two)).startswith("AUDIT: nothing is refused to roles ")
    assert audit_text(policy_of(ROLES.replace("mode: audit, ", ""))) == ""


def test_a_host_alone_in_audit_is_everybody() -> None:
    text = "version: 1\ndefault: deny\nmode: audit\nrules: [{allow: a.example}]\n"

    assert audit_text(policy_of(text)) == "AUDIT: nothing is refused"


def test_row_140_the_reminder_comes_every_hour_and_ends_with_the_audit() -> None:
    said: list[str] = []
    clock, policy = [0], [policy_of()]
    reminder = AuditReminder(lambda: policy[0], said.append, lambda: Nanos(clock[0]))
    for minute in range(150):
        clock[0] = minute * 60 * SECOND
        reminder.look()

    assert said == ["AUDIT: nothing is refused to role web"] * 2
    policy[0] = policy_of(ROLES.replace("mode: audit, ", ""))
    clock[0] += 3600 * SECOND
    reminder.look()
    assert len(said) == 2


async def test_row_140_start_and_reload_say_it_in_the_ready_line_and_the_log(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, policy=ROLES) as run:
        assert "AUDIT: nothing is refused to role web" in run.said[0]
        assert run.log.text.count("AUDIT") == 1

        run.policy.write_text(ROLES.replace("4242}], default", "4242}], mode: audit, default"))
        await run.control("reload")

        assert "AUDIT: nothing is refused to roles" in run.log.text
