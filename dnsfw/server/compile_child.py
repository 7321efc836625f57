"""A process that reads policies for a daemon, and ends: `python -m dnsfw.server.compile_child`.

What it takes to read YAML is a third of a daemon's memory and half of its start, and is needed
once. The child reads one job from stdin and writes one answer to stdout, both `frozen`; its
rights are no more than reading files. It is as old as the code on disk: where that has another
shape than the daemon's own, the daemon says so and believes nothing (see `shape`).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from traceback import format_exc

from dnsfw.server.capabilities import Cap, drop

__all__ = ["MOST", "main"]

MOST = 1 << 30  # bytes of an answer
_READING = frozenset({Cap.DAC_OVERRIDE, Cap.DAC_READ_SEARCH})
_POLITE = 5  # nice(2): answers come first


def main() -> None:
    """One job. What goes wrong is part of the answer."""
    _die_first()
    drop(_READING)
    from dnsfw.policy.frozen import freeze, shape, thaw  # with no more rights than that

    name, arguments, hurry = thaw(sys.stdin.buffer.read())
    if not hurry:
        os.nice(_POLITE)
    answer = freeze((shape(), *_answer(name, arguments)))
    with os.fdopen(1, "wb") as out:
        out.write(answer)


def _die_first() -> None:
    """Where memory ends, this process does, and not the daemon whose answers all wait for."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _answer(name: str, arguments: tuple[object, ...]) -> tuple[str, object]:
    from dnsfw.errors import ConfigError, DnsfwError, PolicyError
    from dnsfw.policy.frozen import NotWhole
    from dnsfw.server.compile_jobs import FROZEN_JOBS, JOBS

    try:
        if (job := FROZEN_JOBS.get(name)) is not None:
            return "frozen", job(*arguments)
        return "value", JOBS[name](*arguments)
    except PolicyError as error:
        return "policy", str(error)
    except ConfigError as error:
        return "config", str(error)
    except DnsfwError as error:
        return "host", str(error)
    except NotWhole as error:
        return "whole", str(error)
    except Exception:
        return "bug", format_exc()


if __name__ == "__main__":
    main()
