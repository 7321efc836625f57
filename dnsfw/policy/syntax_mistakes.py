"""What is said of a value that does not fit the model: its own name, what it may be, a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from dnsfw.policy.destination import COMMA
from dnsfw.policy.problems import Problems, printable, shown
from dnsfw.policy.syntax import LATER, PolicySection
from dnsfw.policy.syntax_places import section_at
from dnsfw.policy.syntax_yaml import Document, Path

__all__ = ["EXTRA", "key_meant", "named", "tell", "unknown", "what_unknown"]

EXTRA = "extra_forbidden"
_MISSING = {
    "version": "write 'version: 1'",
    "default": "write 'default: deny' or 'default: allow'",
    "list": "name its file: '{list: ads.txt, format: hosts}'",
    "policy": "name it: 'remote: {policy: https://…}'",
    "server": "name it: '{server: tls://dns.quad9.net}'",
}
# What people write who come from other tools.
_SYNONYMS = {
    "accept": "allow",
    "permit": "allow",
    "pass": "allow",
    "block": "deny",
    "drop": "deny",
    "reject": "deny",
    "comment": "note",
    "description": "note",
    "name": "note",
    "upstream": "upstreams",
    "resolvers": "upstreams",
    "forward": "upstreams",
    "bind": "listen",
    "user": "uid",
    "group": "gid",
    "unit": "cgroup",
    "service": "cgroup",
    "slice": "cgroup",
    "exe": "executable",
    "binary": "executable",
    "path": "executable",
    "iface": "interface",
    "device": "interface",
    "prefix": "source",
    "range": "source",
    "audit": "mode",
    "policy": "default",
    "members": "subjects",
    "listen_ports": "inbound",
}
_KINDS = {
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "int_type": "a whole number",
}
_UPSTREAM_KIND = "text, or keys and values"
# What stands below a key that has keys of its own, or in an entry of a list.
_EXAMPLES = {
    "ttl": "write 'ttl: {max: 1h}'",
    "dns": "write 'dns: {upstreams: [system]}'",
    "host": "write 'host: {containers: true}'",
    "log": "write 'log: {names: all}'",
    "tables": "write 'tables: {grants: 262144}'",
    "limits": "write 'limits: {size: 64MiB}'",
    "remote": "write 'remote: {policy: https://…}'",
    "upstreams": "write '9.9.9.9' or '{server: tls://9.9.9.9#dns.quad9.net}'",
    "rules": "begin with '- allow:' or '- deny:'",
    "subjects": "begin with '- cgroup:' or another kind",
    "tests": "begin with '- allow:' or '- deny:'",
}
_ROLE = "write 'web: {default: deny}'"
_HINTED = 40  # characters of a value that a remedy repeats
_BOOLS = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}


def tell(item: ErrorDetails, at: Path, document: Document, problems: Problems) -> None:
    """Put one of the model's errors, in a section that stands at `at`, into words."""
    path: Path = (*at, *item["loc"])
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    inside = kind == "missing" and len(path) > 1 and value == {}
    if inside or (kind not in ("missing", EXTRA) and value in (None, [], {})):
        return  # that nothing stands there is told already
    where = document.place(path)
    if kind == EXTRA:
        problems.error(document.key_place(path), *what_unknown(path))
    elif kind == "missing":
        key = str(path[-1])
        problems.error(where, f"key '{key}' is missing", _MISSING.get(key, ""))
    elif kind == "literal_error":
        told = f"{named(path)} is {context['expected']}, not {shown(value)}"
        problems.error(where, told, _closest(value, context["expected"]))
    elif kind == "said":
        problems.error(where, item["msg"], context.get("remedy", ""))
    elif kind in _KINDS:
        hint = _hint(kind, value, path)
        wanted = _UPSTREAM_KIND if path[-2:-1] == ("upstreams",) else _KINDS[kind]
        problems.error(where, f"{named(path)} is {wanted}, not {_kind_of(value)}", hint)
    else:
        problems.error(where, *_bounded(kind, value, path, context))


def unknown(path: Path) -> bool:
    """Whether no section has the key that a path ends in, as far as the path says which it is."""
    if not path or not isinstance(path[-1], str) or path[:-1] == ("roles",):
        return False
    around = section_at(path[:-1])
    if around is PolicySection and (path[:-1] or path[-1] in LATER):
        return False
    return path[-1] not in _keys(path[:-1])


def what_unknown(path: Path) -> tuple[str, str]:
    """What is said of such a key, and the remedy."""
    key = str(path[-1])
    return f"unknown key {shown(key)}", _close(key, path[:-1])


def _bounded(
    kind: str, value: object, path: Path, context: Mapping[str, Any]
) -> tuple[str, str]:
    """A value of the right kind that is too much or too little."""
    name = named(path)
    if kind in ("greater_than_equal", "less_than_equal"):
        least, most = _range(path)
        told = f"{least} to {most}" if most is not None else f"at least {least}"
        return f"{name} is {told}, not {shown(value)}", ""
    if kind in ("too_long", "string_too_long"):
        unit = "entries" if isinstance(value, list | dict) else "characters"
        return f"{name} has at most {context['max_length']} {unit}", "shorten it"
    if kind in ("too_short", "string_too_short"):
        return f"{name} is empty", "take the key out, or fill it"
    return f"{name} cannot be {shown(value)}", ""


def _range(path: Path) -> tuple[int | None, int | None]:
    """What the model says of a number."""
    field = section_at(path[:-1]).model_fields[str(path[-1])]
    bounds = {name: getattr(item, name) for item in field.metadata
              for name in ("ge", "le") if hasattr(item, name)}  # fmt: skip
    return bounds.get("ge"), bounds.get("le")


def _hint(kind: str, value: object, path: Path) -> str:
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if kind in ("model_type", "dict_type"):
        return _EXAMPLES.get(key, _ROLE if path[:1] == ("roles",) and len(path) == 2 else "")
    if kind == "list_type" and isinstance(value, str | int):
        return f"write '{key}: [{printable(str(value))[:_HINTED]}]'"
    if kind == "bool_type":
        return f"write {_BOOLS.get(str(value).lower(), 'true or false, without quotes')}"
    if kind == "int_type" and isinstance(value, str) and value.strip().isdecimal():
        return "write it without quotes"
    if kind != "string_type" or isinstance(value, dict | list):
        return ""
    number_in_list = isinstance(value, int) and isinstance(path[-1], int)
    return COMMA if number_in_list and {"allow", "deny"} & set(path) else "quote it"


def _close(key: str, path: Path) -> str:
    if meant := key_meant(key, path):
        return f"did you mean '{meant}'?"
    return f"known are {', '.join(_keys(path))}"


def _keys(path: Path) -> list[str]:
    """As they are written."""
    return [field.alias or name for name, field in section_at(path).model_fields.items()]


def key_meant(key: str, path: Path) -> str | None:
    """The key that an unknown one was probably meant to be."""
    fields = _keys(path)
    lowered = key.lower()
    if _SYNONYMS.get(lowered) in fields:
        return _SYNONYMS[lowered]
    return next(iter(get_close_matches(lowered, fields, n=1, cutoff=0.6)), None)


def _closest(value: object, expected: str) -> str:
    choices = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    if isinstance(value, bool) and "on" in choices:  # YAML 1.2 has true and false alone
        return f"write {'on' if value else 'off'}"
    if not isinstance(value, str):
        return ""
    near = get_close_matches(value.lower(), choices, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else ""


def named(path: Path) -> str:
    """The last key of a path, for a sentence."""
    key = next((part for part in reversed(path) if isinstance(part, str)), "the policy")
    inside = path and isinstance(path[-1], int)
    if inside and key in ("rules", "subjects", "tests"):
        return f"a {key[:-1]}"
    return f"an entry of '{key}'" if inside else f"'{key}'" if path else key


def _kind_of(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"the number {value}"
        case str():
            return shown(value)
        case list():
            return "a list"
        case dict():
            return "keys and values"
        case _:
            return "nothing"
