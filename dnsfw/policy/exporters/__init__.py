"""A role's rules in the formats of other tools. Pure: a compiled role to a text.

No format says all that a policy can. What one cannot say is told, rule by rule, and nothing is
said in its place that would allow more.
"""

from __future__ import annotations

from collections.abc import Mapping

from dnsfw.policy.exporters.allow_lists import allowed_endpoints, sandbox
from dnsfw.policy.exporters.cilium import cilium
from dnsfw.policy.exporters.name_lists import FORMATS as LISTS
from dnsfw.policy.exporters.outcome import Exported, Left, Made
from dnsfw.policy.policy import RolePolicy
from dnsfw.values import dataclass

__all__ = ["FORMATS", "Exported", "Format", "export"]


@dataclass(frozen=True, slots=True)
class Format:
    """One format that a role can be told in."""

    name: str
    about: str
    make: Made


FORMATS: Mapping[str, Format] = {
    **{name: Format(name, about, make) for name, (about, make) in LISTS.items()},
    "cilium": Format("cilium", "a CiliumNetworkPolicy", cilium),
    "allowed-endpoints": Format("allowed-endpoints", "HOST:PORT, one a line", allowed_endpoints),
    "sandbox": Format("sandbox", "JSON: allowedDomains, deniedDomains", sandbox),
}


def export(form: Format, role: RolePolicy) -> Exported:
    """The role in that format, with everything that it does not say."""
    left = Left()
    text = form.make(role, left)
    findings = tuple(sorted(dict.fromkeys(left.findings), key=lambda found: found.where))
    return Exported(form.name, text, findings)
