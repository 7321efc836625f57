"""Rows held both ways: with the kernel's answers and without them, each question asked again
and again.

Asked once the daemon answers, asked twice it publishes, asked three times the kernel answers:
what it says must be the same, and the counters must say that it was the kernel. Over TCP the
daemon answers every time, so what the kernel refuses at once is held against it, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

ASKS = 3
MOST = 8  # the kernel's table of refusals is made beside the start; a renewal may cost one more
# What goes to the daemon by design: other transports, classes, flags, options.
_NEVER = {
    "+tcp", "+cookie", "+nsid", "+norec", "+norecurse", "CH", "HS", "ANY", "AXFR", "IXFR",
}  # fmt: skip
_OURS = ("127.0.53.53", "::1")
_NOT_OF_A_ROLE = ("version", "dns", "host", "log", "tables", "degraded", "locked", "tests")
_KEPT_REMARKS = ("; EDE: ", ";; flags: ")
_UDP_SIZE = re.compile(r"udp: \d+")


@dataclass(frozen=True, slots=True)
class Mode:
    """Whether the kernel answers, in every policy of a world."""

    on: bool

    def policy(self, text: str) -> str:
        """This policy with that said. One that is no JSON is wrong on purpose."""
        try:
            policy = json.loads(text)
        except ValueError:
            return text
        said = "on" if self.on else "off"
        return json.dumps({**policy, "dns": {"kernel_answers": said, **policy.get("dns", {})}})


def in_a_role(text: str, name: str, cgroup: str) -> str:
    """The policy of everybody as that of a role, which knows nothing of what others asked."""
    policy = json.loads(text)
    role = {key: value for key, value in policy.items() if key not in _NOT_OF_A_ROLE}
    rest = {key: value for key, value in policy.items() if key in _NOT_OF_A_ROLE}
    return json.dumps({
        **rest, "default": "deny", "rules": [{"allow": "nothing.invalid"}],
        "roles": {name: {**role, "subjects": [{"cgroup": cgroup}]}},
    })  # fmt: skip


def reaches_the_kernel(argv: Sequence[str]) -> bool:
    """Whether dig asks, by this command line, what the kernel may answer."""
    elsewhere = any(word[0] == "@" and word[1:] not in _OURS for word in argv)
    return not (elsewhere or _NEVER & set(argv) or any(word.startswith("TYPE") for word in argv))


def given(view: dict[str, Any]) -> int:
    """How many answers and refusals came from the kernel, as `status` counts them."""
    return int(view["answered"] + view["refused"]) if view["on"] else 0


def again(
    act: Callable[[], T],
    view: Callable[[], dict[str, Any]],
    mode: Mode,
    *,
    kernel: bool,
    first: Sequence[T] = (),
    meaning: Callable[[T], object] = lambda said: said,
) -> T:
    """Do it until the kernel has answered, and at least three times: each says the same.

    `kernel` false: it never does. `first`: what was said already, to be held against the rest.
    """
    told: list[T] = [*first]
    began = before = given(view())
    for n in range(MOST):
        before = given(view())
        told.append(act())
        if n + 1 >= ASKS and (not (kernel and mode.on) or given(view()) > before):
            break
    now = view()
    assert now["on"] is mode.on
    if kernel and mode.on:
        assert given(now) > before, f"the kernel never answered: {now}"
    else:
        assert given(now) == began, f"the kernel answered: {now}"
    assert len({repr(meaning(one)) for one in told}) == 1, "\n".join(map(str, told))
    return told[-1]


def dig_meaning(said: str) -> tuple[str, ...]:
    """What dig says but for TTLs, ids, sizes, the order of records and its own remarks."""
    kept = []
    for line in said.splitlines():
        if "status: " in line:
            kept.append(line.split("status: ")[1].split(",")[0])
        elif line.startswith(_KEPT_REMARKS):
            kept.append(line)
        elif line.startswith("; EDNS: "):
            kept.append(_UDP_SIZE.sub("", line))
        elif line and not line.startswith(";"):
            words = line.split()
            kept.append(" ".join(w for at, w in enumerate(words) if at != 1 or not w.isdigit()))
    return tuple(sorted(kept))
