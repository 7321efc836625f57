"""A role as a CiliumNetworkPolicy: allowed names and prefixes, denied prefixes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dnsfw.model import PortSet, Verdict
from dnsfw.policy.exporters.name_lists import ipv4_or_6, literal
from dnsfw.policy.exporters.outcome import Left, Named
from dnsfw.policy.first_match import clash
from dnsfw.policy.importers.outcome import quoted
from dnsfw.policy.pattern import Kind, Pattern
from dnsfw.policy.policy import HOST_NAME, RolePolicy
from dnsfw.policy.ports import ANY, LAST_PORT, PROTOCOL_NAMES
from dnsfw.policy.prefix import Prefix
from dnsfw.policy.problems import Wrong

__all__ = ["cilium"]

_HEAD = """# Made by `dnsfw export cilium`.
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: {name}
spec:
  endpointSelector: {selector}
"""
_DNS = """  egress:
  - toEndpoints:
    - matchLabels:
        k8s:io.kubernetes.pod.namespace: kube-system
        k8s-app: kube-dns
    toPorts:
    - ports:
      - {port: "53", protocol: ANY}
      rules:
        dns:
        - matchPattern: "*"
"""
_CLOSED = "  egress:\n  - {}\n"
_HAVE_PORTS = ("tcp", "udp", "sctp")


def cilium(role: RolePolicy, left: Left) -> str:
    """The policy of one role; whom it selects is the cluster's to say."""
    rules = left.entries(role)
    ordered = _denied(role, rules, left)
    ordered += [one for one in rules if one[1].verdict is Verdict.ALLOW]
    beaten = clash([entry for _, entry in ordered])
    allowed: list[str] = []
    denied: list[str] = []
    named = False
    for at, (rule, entry) in enumerate(ordered):
        if entry.verdict is role.default is Verdict.ALLOW:
            left.other_side(rule, entry, rules, "egressDeny beats what is allowed")
            continue
        if (other := beaten[at]) is not None:
            left.lost(rule, f"'{ordered[other][0].text}' would beat it: egressDeny always wins")
            continue
        try:
            lines = "".join(_rule((rule, entry)))
        except Wrong as wrong:
            left.lost(rule, wrong.message)
            continue
        named = named or isinstance(entry.what, Pattern)
        (denied if entry.verdict is Verdict.DENY else allowed).append(lines)
    selector = "{}" if role.name == HOST_NAME else f"{{matchLabels: {{role: {role.name}}}}}"
    text = _HEAD.format(name=role.name, selector=selector)
    if role.default is Verdict.ALLOW:
        text += "  enableDefaultDeny: {egress: false}\n"
    elif named:
        text += _DNS
    elif allowed:
        text += "  egress:\n"
    else:
        text += _CLOSED
    text += "".join(allowed)
    return text + ("  egressDeny:\n" + "".join(denied) if denied else "")


def _denied(role: RolePolicy, rules: list[Named], left: Left) -> list[Named]:
    """The denied prefixes; denied names are lost where they take from something."""
    found: list[Named] = []
    for rule, entry in rules:
        if entry.verdict is Verdict.ALLOW:
            continue
        if isinstance(entry.what, Prefix):
            found.append((rule, entry))
        elif role.default is Verdict.ALLOW:
            left.lost(rule, "Cilium denies no names")
        else:
            left.other_side(rule, entry, rules, "Cilium denies no names")
    return found


def _rule(one: Named) -> Iterator[str]:
    """The lines of one rule. Raises Wrong."""
    _, entry = one
    if isinstance(entry.what, Prefix):
        yield f"  - toCIDR: [{quoted(_cidr(entry.what))}]\n"
    else:
        yield "  - toFQDNs:\n"
        for key, text in _names(entry.what):
            yield f"    - {key}: {quoted(text)}\n"
    if not ANY.minus(entry.ports) and not entry.ports.minus(ANY):
        return
    yield "    toPorts:\n    - ports:\n"
    for line in _ports(entry.ports):
        yield f"      - {line}\n"


def _cidr(prefix: Prefix) -> str:
    text = ipv4_or_6(prefix)
    return text if "/" in text else f"{text}/{32 if prefix.v4 else 128}"


def _names(what: Pattern) -> Iterable[tuple[str, str]]:
    name = literal(what)
    match what.kind:
        case Kind.EXACT:
            return [("matchName", name)]
        case Kind.ONE:
            return [("matchPattern", f"*.{name}")]
        case Kind.BELOW:
            return [("matchPattern", "*" if what.text == "*" else f"**.{name}")]
        case Kind.TREE:
            return [("matchName", name), ("matchPattern", f"**.{name}")]
        case Kind.GLOB:
            raise Wrong("a star of Cilium also stands for nothing: it would allow more")


def _ports(ports: PortSet) -> Iterator[str]:
    for item in ports.ranges:
        name = PROTOCOL_NAMES.get(item.proto, "")
        if name not in _HAVE_PORTS:
            raise Wrong(f"{name or item.proto} beside other ports cannot be told")
        low = item.low if (item.low, item.high) not in ((0, LAST_PORT), (1, LAST_PORT)) else 0
        end = f", endPort: {item.high}" if low and item.high != low else ""
        yield f'{{port: "{low}"{end}, protocol: {name.upper()}}}'
