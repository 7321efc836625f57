"""Policies of older tools, read into the policy language. Pure: a text to values.

`recognize` tells whether a text is one of theirs, `import_text` reads it with what became
of each line, `convert` gives the policy alone and refuses what cannot be kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from dnsfw.policy.importers.allowed_endpoints import FORMAT as ALLOWED_ENDPOINTS
from dnsfw.policy.importers.allowed_endpoints import KEY as ALLOWED_ENDPOINTS_KEY
from dnsfw.policy.importers.allowed_endpoints import import_allowed_endpoints
from dnsfw.policy.importers.blocklist import FORMAT as BLOCKLIST
from dnsfw.policy.importers.blocklist import KEYS as BLOCKLIST_KEYS
from dnsfw.policy.importers.blocklist import import_blocklist
from dnsfw.policy.importers.cilium import FORMAT as CILIUM
from dnsfw.policy.importers.cilium import KINDS as CILIUM_KINDS
from dnsfw.policy.importers.cilium import import_cilium
from dnsfw.policy.importers.cluster_policy import FORMAT as CLUSTER_POLICY
from dnsfw.policy.importers.cluster_policy import KINDS as CLUSTER_POLICY_KINDS
from dnsfw.policy.importers.cluster_policy import import_cluster_policy
from dnsfw.policy.importers.endpoints import FORMAT as ENDPOINTS
from dnsfw.policy.importers.endpoints import KEYS as ENDPOINTS_KEYS
from dnsfw.policy.importers.endpoints import import_endpoints
from dnsfw.policy.importers.name_lists import ABOUT, reader
from dnsfw.policy.importers.outcome import Finding, Imported, Kept
from dnsfw.policy.importers.roles import FORMAT as ROLES
from dnsfw.policy.importers.roles import KEYS as ROLES_KEYS
from dnsfw.policy.importers.roles import import_roles
from dnsfw.policy.importers.sandbox import FORMAT as SANDBOX
from dnsfw.policy.importers.sandbox import KEYS as SANDBOX_KEYS
from dnsfw.policy.importers.sandbox import import_sandbox
from dnsfw.policy.lists.formats import PLAIN_NAMES
from dnsfw.policy.problems import Position, Problems
from dnsfw.values import dataclass

__all__ = ["FORMATS", "Finding", "Format", "Imported", "Kept", "convert", "import_text",
           "recognize"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Format:
    """One format of another tool, and where that tool keeps its file."""

    name: str
    about: str
    read: Callable[[str, str, Problems], Imported | None]
    keys: tuple[str, ...]  # one of them at the top level tells the format
    variable: str = ""  # of the environment, names the file
    places: tuple[str, ...] = ()  # else the first of these
    direct: bool = False  # the file may stand where a policy does
    # Of a list: by whether it allows, and whether a plain name means all below it too.
    listed: Callable[[bool, bool], Callable[[str, str, Problems], Imported | None]] | None = None
    plain: bool = False  # its lines may be plain names


FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format(
            BLOCKLIST,
            "JSON: revision, lockdown_mode, blocked_domains, blocked_ips",
            import_blocklist,
            BLOCKLIST_KEYS,
            "SECEXIT_POLICY",
            ("~/.config/secexit/policy.json",),
            direct=True,
        ),
        Format(
            ROLES,
            "JSON: roles with network_rules, exec_enrollments, cgroup_enrollments",
            import_roles,
            ROLES_KEYS,
            "BPFJAILER_POLICY",
            ("/etc/bpfjailer/policy.json", "config/policy.json"),
            direct=True,
        ),
        Format(
            ENDPOINTS,
            "YAML: endpoints with iface, range, allow",
            import_endpoints,
            ENDPOINTS_KEYS,
            direct=True,
        ),
        Format(CILIUM, "YAML: CiliumNetworkPolicy", import_cilium, CILIUM_KINDS),
        Format(
            CLUSTER_POLICY,
            "YAML: ClusterNetworkPolicy, AdminNetworkPolicy",
            import_cluster_policy,
            CLUSTER_POLICY_KINDS,
        ),
        Format(
            ALLOWED_ENDPOINTS, "HOST:PORT lists of build systems", import_allowed_endpoints, ()
        ),
        Format(SANDBOX, "JSON: allowedDomains, deniedDomains", import_sandbox, SANDBOX_KEYS),
        *(
            Format(
                kind.value,
                about,
                reader(kind, False),
                (),
                listed=partial(reader, kind),
                plain=kind in PLAIN_NAMES,
            )
            for kind, about in ABOUT.items()
        ),
    )
}
_OURS = re.compile(r"""^[ \t{]*["']?version["']?[ \t]*:""", re.MULTILINE)
_YAML_KEY = re.compile(r"^([a-z_]+)[ \t]*:", re.MULTILINE)
_JSON_KEY = re.compile(r'"([a-z_]+)"[ \t\r\n]*:')
_KIND = re.compile(r"""^[ \t{,-]*["']?kind["']?[ \t]*:[ \t]*["']?([A-Za-z]+)""", re.MULTILINE)
_KINDS = {
    **dict.fromkeys(CILIUM_KINDS, CILIUM), **dict.fromkeys(CLUSTER_POLICY_KINDS, CLUSTER_POLICY),
}  # fmt: skip
_SANDBOX_KEY = re.compile(rf'"(?:{"|".join(SANDBOX_KEYS)})"[ \t\r\n]*:')


def recognize(text: str) -> Format | None:
    """Whose file this is; None for a policy of our own, and for what nobody knows.

    By its keys alone, so that the right reader explains what else is wrong with it. A list of
    names has none: its format is named.
    """
    if (form := _by_kind(text)) is not None:
        return form
    json = text.lstrip("\ufeff \t\r\n").startswith(("{", "//", "/*"))
    if not json and "endpoints" not in text:  # a big policy of ours is not searched for keys
        return None
    if _OURS.search(text):
        return None
    found = {match[1] for match in (_JSON_KEY if json else _YAML_KEY).finditer(text)}
    for form in FORMATS.values():
        if form.direct and found & set(form.keys) and json == (form.name != ENDPOINTS):
            return form
    if json and _SANDBOX_KEY.search(text):
        return FORMATS[SANDBOX]
    return None


def _by_kind(text: str) -> Format | None:
    """Manifests and workflows say what they are; a policy of ours has no such keys."""
    if "kind" in text and "apiVersion" in text:
        for found in _KIND.finditer(text):
            if found[1] in _KINDS:
                return FORMATS[_KINDS[found[1]]]
    if "allowed-endpoints" in text and ALLOWED_ENDPOINTS_KEY.search(text):
        return FORMATS[ALLOWED_ENDPOINTS]
    return None


def import_text(form: Format, text: str, file: str) -> Imported:
    """The policy and how each line was read. PolicyError when the text cannot be understood."""
    problems = Problems()
    made = form.read(text, file, problems)
    problems.stop_if_any()
    assert made is not None, "a text that cannot be read has a problem"
    return made


def convert(text: str, file: str) -> str:
    """Another tool's file as the policy it means; our own as it is.

    PolicyError names every line that dnsfw cannot keep: half a policy is not put in force.
    """
    form = recognize(text)
    if form is None:
        return text
    if not form.direct:
        problems = Problems()
        remedy = f"make a policy of it: dnsfw import {form.name} {file} -o policy.yaml"
        problems.error(Position(file, 1), f"a file of the format {form.name}, no policy", remedy)
        problems.stop_if_any()
    made = import_text(form, text, file)
    made.problems().stop_if_any()
    return made.text
