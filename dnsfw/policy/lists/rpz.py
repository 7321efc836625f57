"""Response policy zones, as named and unbound read them (draft-vixie-dnsop-dns-rpz)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dnsfw.policy.lists.columns import Means, Parsed, name_of, prefix_of

__all__ = ["read_rpz"]

_RECORD = re.compile(
    r"(?P<owner>\S*)\s+(?:(?P<ttl>[0-9]+[smhdw]?)\s+)?(?:(?:IN)\s+)?(?:[0-9]+[smhdw]?\s+)?"
    r"(?P<type>[A-Z0-9]+)\s+(?P<data>.*)",
    re.I,
)
_LONGEST = 1 << 12  # characters of a record: of one name and an action, or a SOA
_QUIET = frozenset({"SOA", "NS"})


def read_rpz(text: str, parsed: Parsed, suffix: bool) -> None:
    """Each record whose action is a refusal or a pass; a zone has no plain names to widen."""
    origin, owner = "", ""
    joined = _parentheses(text, parsed)
    for number, line in joined:
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "$ORIGIN":
            origin = rest.strip().strip(".").lower()
            continue
        if word.startswith("$"):
            if word.upper() != "$TTL":
                parsed.refuse(number, f"the directive {word[:20]}", line[:80])
            continue
        found = _RECORD.fullmatch(line.rstrip())
        if found is None:
            parsed.refuse(number, "not a record", line[:80])
            continue
        owner = (found["owner"] or owner).lower()
        if found["type"].upper() == "SOA" and not origin:
            origin = owner.strip(".") if owner != "@" else ""
        if found["type"].upper() not in _QUIET:
            _rpz_rule(_relative(owner, origin), found, number, line, parsed)


def _relative(owner: str, origin: str) -> str:
    if owner.endswith("."):
        owner = owner.rstrip(".")
        return owner.removesuffix("." + origin) if origin else owner
    return owner


def _rpz_rule(owner: str, found: re.Match[str], number: int, line: str, parsed: Parsed) -> None:
    rtype, data = found["type"].upper(), found["data"].strip().lower()
    trigger = owner.rpartition(".")[2]
    if trigger in ("rpz-client-ip", "rpz-nsdname", "rpz-nsip"):
        parsed.refuse(number, f"the trigger {trigger}", line[:80])
        return
    passes = rtype == "CNAME" and data.rstrip(".") == "rpz-passthru"
    refuses = rtype == "CNAME" and data in (".", "*.", "rpz-drop.", "rpz-drop", "rpz-tcp-only.")
    if data.startswith("rpz-tcp-only"):
        parsed.refuse(number, "the action rpz-tcp-only", line[:80])
    elif trigger == "rpz-ip":
        prefix = _rpz_prefix(owner.removesuffix(".rpz-ip"))
        if prefix is None or not refuses:
            parsed.refuse(number, "an address trigger that denies nothing", line[:80])
        else:
            parsed.prefixes.append((prefix, number))
    elif not passes and not refuses:
        parsed.refuse(number, "local data: an answer of its own", line[:80])
    else:
        star = owner.startswith("*.")
        name = name_of(owner[2:] if star else owner)
        if name is None:
            parsed.refuse(number, "not a name", owner)
        elif passes:
            parsed.add(name, Means.NOT_BELOW if star else Means.NOT_SELF, number)
        else:
            parsed.add(name, Means.BELOW if star else Means.SELF, number)


def _rpz_prefix(owner: str) -> str | None:
    """`24.0.2.0.192` is 192.0.2.0/24; `zz` stands for :: in IPv6."""
    bits, *parts = owner.split(".")
    if not parts:
        return None
    parts.reverse()
    if len(parts) == 4 and "zz" not in parts:
        return prefix_of(f"{'.'.join(parts)}/{bits}")
    text = ":".join("" if part == "zz" else part for part in parts)
    if "zz" in (parts[0], parts[-1]):  # an end of :: has two colons of its own
        text = ":" + text if parts[0] == "zz" else text + ":"
    return prefix_of(f"{text}/{bits}")


def _parentheses(text: str, parsed: Parsed) -> Iterator[tuple[int, str]]:
    """Lines without comments; a record in parentheses is one line."""
    held: list[str] = []
    began = depth = size = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.partition(";")[0].rstrip()
        if not held and not line.strip():
            continue
        began = began if held else number
        held.append(line.strip() if held else line)
        size += len(line)
        depth += line.count("(") - line.count(")")
        if depth > 0 and size <= _LONGEST:
            continue
        if size > _LONGEST:
            parsed.refuse(began, "the record is too long")
        else:
            yield began, " ".join(held).replace("(", " ").replace(")", " ")
        held, depth, size = [], 0, 0
    if held:
        parsed.refuse(began, "the parenthesis has no end")
