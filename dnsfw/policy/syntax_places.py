"""Which section of the language stands at a place of a policy file."""

from __future__ import annotations

from dnsfw.policy.syntax import DnsSection, HostSection, PolicySection, TablesSection
from dnsfw.policy.syntax_log import LogSection
from dnsfw.policy.syntax_questions import GuardSection
from dnsfw.policy.syntax_remote import LimitsSection, RemoteSection
from dnsfw.policy.syntax_roles import RoleSection, SubjectSection
from dnsfw.policy.syntax_rules import ListSection, RuleSection, TtlSection
from dnsfw.policy.syntax_tests import CaseSection
from dnsfw.policy.syntax_upstream import UpstreamSection
from dnsfw.policy.syntax_yaml import Path

__all__ = ["section_at"]


def section_at(
    path: Path,
) -> type[
    PolicySection
    | RoleSection
    | SubjectSection
    | RuleSection
    | CaseSection
    | ListSection
    | TtlSection
    | GuardSection
    | LimitsSection
    | RemoteSection
    | DnsSection
    | UpstreamSection
    | HostSection
    | LogSection
    | TablesSection
]:
    """The model that reads what stands there; the policy's own where nothing else does."""
    match path:
        case (*_, "rules", int()):
            return RuleSection
        case ("roles", _, "subjects", int()):
            return SubjectSection
        case ("roles", _):
            return RoleSection
        case ("tests", int()):
            return CaseSection
        case (*_, "rules", int(), "allow" | "deny"):
            return ListSection
        case (*_, "guard"):
            return GuardSection
        case (*_, "ttl"):
            return TtlSection
        case (*_, "allow" | "deny" | "remote", "limits"):
            return LimitsSection
        case ("remote",):
            return RemoteSection
        case ("dns", "upstreams", int()):
            return UpstreamSection
        case ("dns",):
            return DnsSection
        case ("host",):
            return HostSection
        case ("log",):
            return LogSection
        case ("tables",):
            return TablesSection
        case _:
            return PolicySection
