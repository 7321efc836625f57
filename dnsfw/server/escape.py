"""Text that others chose, made safe to print: command names, names, rule notes.

Domain names come escaped from `wire.name.to_text` already; its output passes unchanged.
"""

from __future__ import annotations

import unicodedata

__all__ = ["safe"]

# Control characters, format characters (direction overrides, zero width), surrogates,
# private use, unassigned, line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe(text: str | bytes) -> str:
    r"""The text with every octet that could steer a terminal written as \DDD."""
    if isinstance(text, bytes):
        text = text.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in _UNSAFE else _octets(c) for c in text)


def _octets(char: str) -> str:
    return "".join(f"\\{octet:03d}" for octet in char.encode("utf-8", "surrogateescape"))
