"""A policy from stdin, where a command takes `-` for a file."""

from __future__ import annotations

import sys

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text
from dnsfw.policy.files import MAX_BYTES
from dnsfw.policy.importers import convert
from dnsfw.policy.policy import Policy

__all__ = ["STDIN", "stdin_policy"]

STDIN = "-"
_SHOWN = "<stdin>"  # in positions; paths of its lists are taken from the directory one is in


def stdin_policy() -> Policy:
    """What is piped in, another tool's policy too. PolicyError has all that is wrong with it."""
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise PolicyError(f"{_SHOWN}: larger than {MAX_BYTES >> 20} MiB; use wildcards")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{_SHOWN}:{line}: not UTF-8; save it as UTF-8") from None
    meant = convert(text, _SHOWN)
    return compile_text(meant, _SHOWN if meant is text else f"{_SHOWN} (imported)")
