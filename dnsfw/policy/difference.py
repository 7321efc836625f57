"""What a reload changes, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from dnsfw.policy.policy import DnsSettings, Policy, RolePolicy
from dnsfw.policy.rule import Rule


def diff(old: Policy, new: Policy) -> list[str]:
    """`+ rule`, `- rule`, `~ what changed`; nothing when the two say the same."""
    lines = [
        f"~ {key}: {before} -> {after}"
        for (key, before), (_, after) in zip(_settings(old), _settings(new), strict=True)
        if before != after
    ]
    for role in sorted(set(old.roles) | set(new.roles)):
        lines += _rules(old.roles.get(role), new.roles.get(role))
    return lines


def _rules(old: RolePolicy | None, new: RolePolicy | None) -> Iterator[str]:
    before = {rule.text: rule for rule in old.rules} if old else {}
    after = {rule.text: rule for rule in new.rules} if new else {}
    yield from (f"- {text}" for text in before if text not in after)
    yield from (f"+ {text}" for text in after if text not in before)
    for text, rule in after.items():
        if text in before and (changes := ", ".join(_options(before[text], rule))):
            yield f"~ {text} ({changes})"


def _options(old: Rule, new: Rule) -> Iterator[str]:
    for key in ("private", "shared", "close", "note"):
        if getattr(old, key) != getattr(new, key):
            yield key
    for key in ("min", "max", "grace"):
        before, after = getattr(old.ttl, key), getattr(new.ttl, key)
        if before != after:
            yield f"ttl.{key} {before}s -> {after}s"


def _settings(policy: Policy) -> list[tuple[str, str]]:
    dns: DnsSettings = policy.dns
    host = policy.host
    return [
        ("default", host.default.name.lower()),
        ("mode", host.mode.name.lower()),
        ("resolved_only", str(host.resolved_only).lower()),
        ("deny metadata", str(host.metadata).lower()),
        ("degraded", "allow" if policy.degraded else "deny"),
        ("host.containers", str(policy.containers).lower()),
        ("dns.listen", ", ".join(map(str, dns.listen))),
        ("dns.upstreams", ", ".join(str(up) if up else "system" for up in dns.upstreams)),
        ("dns.refuse", dns.refuse),
        ("dns.takeover", str(dns.takeover).lower()),
        ("dns.private", dns.private),
    ]
