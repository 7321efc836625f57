"""The policy of one run: a file (or none), and what the command line adds to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dnsfw.errors import ConfigError, PolicyError
from dnsfw.model import HOST, Inbound, Loopback, Mode, RoleId, Verdict, abi
from dnsfw.policy.compile import compile_text, find_policy, load
from dnsfw.policy.conflicts import find_conflicts
from dnsfw.policy.destination import parse_destination
from dnsfw.policy.lists.names import NameList
from dnsfw.policy.merge import read_parts
from dnsfw.policy.pattern import Pattern
from dnsfw.policy.policy import HOST_NAME, Access, Policy, RolePolicy
from dnsfw.policy.problems import Position, Problems, Wrong
from dnsfw.policy.resolvers import ENCRYPTED_WORD, encrypted_dns
from dnsfw.policy.rule import Rule
from dnsfw.values import dataclass

__all__ = ["COMMAND_LINE", "RUN", "RunRules", "policy_place", "run_policy"]

COMMAND_LINE = "the command line"
# Of everything that runs. Not `host`: that is whoever has no record, the programs beside it
# too, whose listeners on loopback are not the run's own.
RUN = RoleId(abi.RoleId.FIRST)
_NAME = "run"
_VERDICTS = {"allow": Verdict.ALLOW, "deny": Verdict.DENY}


@dataclass(frozen=True, slots=True)
class RunRules:
    """What the command line says of the policy; empty fields mean: as the file says."""

    policy: str | None = None
    role: str | None = None  # of the file, instead of its own rules
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    default: str | None = None  # allow | deny
    audit: bool = False


def policy_place(rules: RunRules) -> Path | None:
    """Where the policy is; None where the command line stands alone. ConfigError."""
    watched = rules.audit and rules.role is None
    alone = rules.policy is None and bool(rules.allow or rules.deny or rules.default or watched)
    return None if alone else find_policy(rules.policy)


def run_policy(rules: RunRules) -> Policy:
    """One role for everything that runs; nothing listens, and loopback is its own.

    Without --policy, rules of the command line stand alone: those of --allow under
    `default: deny`, those of --deny alone under `default: allow`. --audit alone judges by
    `default: deny`, or it would see nothing to learn from. Without any of these the file is
    found as `up` finds it. PolicyError, ConfigError.
    """
    place = policy_place(rules)
    if place is None and rules.role:
        raise ConfigError("--role names a role of a policy file; add --policy FILE")
    base = _nothing(rules) if place is None else _from_file(place, rules)
    extra = _compiled(rules)
    host = base.host
    default = _VERDICTS[rules.default] if rules.default else host.default
    every = (*host.rules, *(rule for rule in extra if rule.text not in _texts(host.rules)))
    _check(every)
    role = RolePolicy(
        RUN,
        _NAME,
        default,
        tuple(replace(rule, role=RUN) for rule in every),
        mode=Mode.AUDIT if rules.audit else host.mode,
        resolved_only=host.resolved_only,
        metadata=True,  # DESIGN, section 4: in `run` under either default
        ttl=host.ttl,
        access=host.access,
        takeover=True,
        implied=_encrypted(
            every, default, asked=bool(host.implied) or ENCRYPTED_WORD in rules.deny
        ),
        lists=_lists_of(host, RUN),
        questions=host.questions,
    )
    return replace(
        base,
        roles={HOST: RolePolicy(HOST, HOST_NAME, Verdict.DENY, ()), RUN: role},
        dns=replace(base.dns, takeover=True),
        subjects=(),
    )


def _encrypted(rules: Sequence[Rule], default: Verdict, *, asked: bool) -> tuple[Rule, ...]:
    """Whose plain queries are taken over gets no encrypted way round either; under
    `default: deny` there is none but what a rule names.
    """
    if default is Verdict.DENY and not asked:
        return ()
    taken = {rule.id for rule in rules}
    return encrypted_dns(RUN, _NAME, rules, Position(COMMAND_LINE), taken)


def _texts(rules: Iterable[Rule]) -> set[str]:
    return {rule.text for rule in rules}


def _nothing(rules: RunRules) -> Policy:
    default = rules.default or ("deny" if rules.allow or not rules.deny else "allow")
    text = json.dumps({"version": 1, "default": default})
    return _with_host(compile_text(text, COMMAND_LINE), HOST_NAME, {})


def _from_file(path: Path, rules: RunRules) -> Policy:
    policy = load(path)
    texts = policy.texts.files if policy.texts is not None else {}
    document = read_parts(texts, Problems())
    raw = document.value if document is not None else {}
    written = raw if isinstance(raw, dict) else {}
    if rules.role is None:
        return _with_host(policy, HOST_NAME, written)
    named = written.get("roles")
    section = named.get(rules.role) if isinstance(named, dict) else None
    return _with_host(policy, rules.role, section if isinstance(section, dict) else {})


def _with_host(policy: Policy, name: str, written: dict[str, object]) -> Policy:
    """The policy whose host is the role of this name, with what a run is unless the file says."""
    role = next((role for role in policy.roles.values() if role.name == name), None)
    if role is None:
        known = ", ".join(role.name for role in policy.roles.values())
        raise ConfigError(f"{policy.sources[0]} has no role {name!r}; it has {known}")
    access = Access(
        role.access.inbound if "inbound" in written else Inbound.DENY,
        role.access.inbound_ports,
        role.access.loopback if "loopback" in written else Loopback.OWN,
        role.access.loopback_ports,
    )
    host = RolePolicy(
        HOST, HOST_NAME, role.default, tuple(replace(rule, role=HOST) for rule in role.rules),
        mode=role.mode, resolved_only=role.resolved_only, metadata=role.metadata, ttl=role.ttl,
        access=access, takeover=True, implied=role.implied, lists=_lists_of(role, HOST),
        questions=role.questions,
    )  # fmt: skip
    return replace(policy, roles={HOST: host})


def _lists_of(role: RolePolicy, to: RoleId) -> tuple[NameList, ...]:
    """The role's lists, with entries that belong to another role."""
    return tuple(
        replace(
            one,
            rule=replace(one.rule, role=to),
            prefixes=tuple(replace(rule, role=to) for rule in one.prefixes),
        )
        for one in role.lists
    )


def _compiled(rules: RunRules) -> tuple[Rule, ...]:
    """The rules of --allow and --deny."""
    for option, texts in (("--allow", rules.allow), ("--deny", rules.deny)):
        _check_texts(option, texts)
    written = [{"allow": text} for text in rules.allow] + [{"deny": text} for text in rules.deny]
    if not written:
        return ()
    text = json.dumps({"version": 1, "default": "deny", "rules": written})
    try:
        return compile_text(text, COMMAND_LINE).host.rules
    except PolicyError as error:  # a place in a text that nobody wrote helps nobody
        said = [line.split(": ", 1)[-1] for line in str(error).splitlines()]
        raise ConfigError(f"--allow and --deny: {'; '.join(said)}") from None


def _check_texts(option: str, texts: Sequence[str]) -> None:
    """ConfigError names the option, not a place in a file."""
    for text in texts:
        try:
            destination = parse_destination(text)
        except Wrong as wrong:
            if text == "metadata" and option == "--deny":
                continue  # it holds in a run anyway
            raise ConfigError(f"{option}: {_said(wrong)}") from None
        what = destination.what
        if option == "--allow" and isinstance(what, Pattern) and what.broad:
            raise ConfigError(
                f"--allow: {text!r} is open to names that anybody can register; name what is "
                "meant, or write it into a policy file with 'broad: true'"
            )


def _said(wrong: Wrong) -> str:
    message, remedy = wrong.message, wrong.remedy
    return f"{message}; {remedy}" if remedy else message


def _check(rules: Sequence[Rule]) -> None:
    """The same pattern allowed here and denied there: nobody knows what is meant."""
    problems = Problems()
    find_conflicts(rules, problems)
    problems.stop_if_any()
