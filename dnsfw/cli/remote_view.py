"""What comes over https, for people: `check` and `status`; and `check --fetch` itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dnsfw.cli.render import counts, duration
from dnsfw.policy.copies import Copies
from dnsfw.policy.problems import printable
from dnsfw.policy.remote import LIST, Remote

__all__ = ["fetch_for", "remote_json", "remote_line", "status_words"]


def fetch_for(path: Path) -> list[str]:
    """Fetch the newest of all that the policy in a file takes from elsewhere, asking its own
    upstreams; what failed and may. ConfigError where the policy cannot do without.
    """
    from dnsfw.server.provide import provide_now  # only who fetches pays for it

    return provide_now(path, time.time, newest=True)


def remote_json(source: Remote) -> dict[str, Any]:
    """A source and its copy."""
    copy, now = Copies().get(source), time.time()
    return {
        "url": source.url,
        "what": source.what,
        "there": copy is not None,
        "rules": copy.names if copy else 0,
        "age": int(now - copy.fetched) if copy else None,
        "checked": int(now - copy.checked) if copy else None,
        "revision": copy.revision if copy else None,
        "expires": int(copy.expires - now) if copy and copy.expires is not None else None,
        "sha256": copy.sha256 if copy else "",
    }


def remote_line(row: dict[str, Any]) -> str:
    """One line of `check`."""
    if not row["there"]:
        return f"{row['url']}: no copy yet"
    return f"{row['url']}: {_about(row)}"


def status_words(row: dict[str, Any]) -> str:
    """One source in `status`: what is there, how old, what went wrong, when next."""
    told = [row["url"]]
    if row["age"] is not None:
        told.append(_about(row))
    if row["error"]:
        told.append(
            f"FAILS since {duration(max(0, row['failing']))}: {printable(row['error'])}"
        )
    if row["state"] in ("expired", "late"):
        told.append("what it said last stays in force")
    elif row["state"] == "missing":
        told.append("never fetched: its rule says nothing")
    told.append(f"next in {duration(row['next'])}")
    return ", ".join(told)


def _about(row: dict[str, Any]) -> str:
    words = [counts(row["rules"], "rule")] if row["what"] == LIST else ["policy"]
    if row["revision"] is not None:
        words.append(f"revision {row['revision']}")
    words.append(f"from {duration(max(0, row['age']))} ago")
    words.append(f"checked {duration(max(0, row['checked']))} ago")
    if row["expires"] is not None:
        left = row["expires"]
        words.append(
            f"expires in {duration(left)}" if left > 0 else f"EXPIRED {duration(-left)} ago"
        )
    return ", ".join(words)
