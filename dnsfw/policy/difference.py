"""What a reload changes, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from dnsfw.model import HOST
from dnsfw.policy.compile_log import LogSettings
from dnsfw.policy.compile_subjects import describe
from dnsfw.policy.policy import DnsSettings, Policy, RolePolicy
from dnsfw.policy.rule import Rule

_NONE = "none"


def diff(old: Policy, new: Policy) -> list[str]:
    """`+ rule`, `- rule`, `~ what changed`; nothing when the two say the same. What is said
    of a role other than `host` begins with its name.
    """
    lines = _changes(_of_role(old.host), _of_role(new.host))
    lines += _changes(_settings(old), _settings(new))
    lines += _rules(old.host, new.host)
    before, after = _named(old), _named(new)
    for name in [*before, *(name for name in after if name not in before)]:
        lines += _role(name, before.get(name), after.get(name), old, new)
    return lines


def _role(
    name: str, before: RolePolicy | None, after: RolePolicy | None, old: Policy, new: Policy
) -> list[str]:
    if after is None:
        return [f"- role {name}"]
    lines = []
    if before is None:
        settings = ", ".join(f"{key} {value}" for key, value in _of_role(after)[:2])
        lines.append(f"+ role {name}: {settings}")
    else:
        lines += _changes(_of_role(before), _of_role(after))
    lines += _subjects(_who(old, before), _who(new, after))
    lines += _rules(before, after)
    return [line if line.startswith("+ role ") else _of(name, line) for line in lines]


def _of(name: str, line: str) -> str:
    """`~ mode: …` of a role: `~ web: mode: …`."""
    return f"{line[:2]}{name}: {line[2:]}"


def _named(policy: Policy) -> dict[str, RolePolicy]:
    return {role.name: role for role in policy.roles.values() if role.role != HOST}


def _who(policy: Policy, role: RolePolicy | None) -> list[str]:
    if role is None:
        return []
    names = policy.role_names
    return [describe(s, names) for s in policy.subjects if s.role == role.role]


def _subjects(before: list[str], after: list[str]) -> Iterator[str]:
    yield from (f"- subject {text}" for text in before if text not in after)
    yield from (f"+ subject {text}" for text in after if text not in before)


def _rules(old: RolePolicy | None, new: RolePolicy | None) -> Iterator[str]:
    before = {rule.text: rule for rule in old.rules} if old else {}
    after = {rule.text: rule for rule in new.rules} if new else {}
    yield from (f"- {text}" for text in before if text not in after)
    yield from (f"+ {text}" for text in after if text not in before)
    for text, rule in after.items():
        if text in before and (changes := ", ".join(_options(before[text], rule))):
            yield f"~ {text} ({changes})"


def _options(old: Rule, new: Rule) -> Iterator[str]:
    for key in ("private", "shared", "close", "addresses", "keep", "qtypes", "guard", "note"):
        if getattr(old, key) != getattr(new, key):
            yield key
    for key in ("min", "max", "grace"):
        before, after = getattr(old.ttl, key), getattr(new.ttl, key)
        if before != after:
            yield f"ttl.{key} {before}s -> {after}s"


def _changes(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> list[str]:
    return [
        f"~ {key}: {was or _NONE} -> {now or _NONE}"
        for (key, was), (_, now) in zip(before, after, strict=True)
        if was != now
    ]


def _of_role(role: RolePolicy) -> list[tuple[str, str]]:
    return [
        ("default", role.default.name.lower()),
        ("mode", role.mode.name.lower()),
        ("resolved_only", str(role.resolved_only).lower()),
        ("inbound", role.access.inbound_text),
        ("loopback", role.access.loopback_text),
        ("deny metadata", str(role.metadata).lower()),
        ("deny encrypted-dns", str(bool(role.implied)).lower()),
        ("qtypes", role.questions.types.text),
        ("guard", role.questions.guard.text),
    ]


def _settings(policy: Policy) -> list[tuple[str, str]]:
    dns: DnsSettings = policy.dns
    return [
        ("degraded", "allow" if policy.degraded else "deny"),
        ("host.containers", str(policy.containers).lower()),
        *((f"tables.{name}", f"{size:,}") for name, size in policy.tables.items()),
        ("dns.listen", ", ".join(map(str, dns.listen))),
        ("dns.upstreams", ", ".join(up.text if up else "system" for up in dns.upstreams)),
        ("dns.nat64_prefix", ", ".join(map(str, dns.nat64))),
        ("dns.refuse", dns.refuse),
        ("dns.takeover", str(dns.takeover).lower()),
        ("dns.private", dns.private),
        ("dns.kernel_answers", "on" if dns.kernel_answers else "off"),
        ("dns.xdp", ", ".join(dns.xdp)),
        ("dns.workers", str(dns.workers or "auto")),
        *((f"log.{key}", value) for key, value in _of_log(policy.log)),
    ]


def _of_log(log: LogSettings) -> list[tuple[str, str]]:
    return [
        ("names", log.names),
        ("history", str(log.history).lower()),
        ("retention", f"{log.retention}s"),
        ("size", str(log.size)),
        ("hash", str(log.hash).lower()),
        ("askers", str(log.askers).lower()),
        ("without", ", ".join(sorted(log.without)) or "nobody"),
        ("directory", log.directory or "the service's"),
    ]
