"""Every bound of the engine in one place (promise 9): what it is for and what happens at it."""

from __future__ import annotations

from dnsfw.model import SECOND, abi
from dnsfw.values import dataclass

# A stub resolver gives up after 5 s (resolv.conf(5), `timeout`): an answer later than
# that is no answer, so every client hears of a failure before its own patience ends.
CLIENT_PATIENCE = 4_500_000_000
# How long one upstream may think before the next is asked beside it.
TRY_PATIENCE = 800_000_000
TCP_PATIENCE = 2_000_000_000
# RFC 9520, section 3.2: failures are remembered for at least 1 s and at most 5 min.
FAILURE_MIN = 1 * SECOND
FAILURE_MAX = 300 * SECOND
# One question's own failure is forgotten sooner: a laptop that wakes up must not wait 5 min.
QUESTION_FAILURE_MAX = 30 * SECOND
# RFC 2308, section 5 asks for a cap of hours; minutes keep a new name from hiding for long.
NEGATIVE_MAX_TTL = 900
# Clients remember a refusal this long, so it is also how long they miss a reload.
REFUSAL_TTL = 10
# Unbound's max-query-restarts: no honest chain is longer.
CHAIN_MAX = 11


@dataclass(frozen=True, slots=True)
class Limits:
    """The sizes of the engine's tables; the defaults suit a server or a laptop."""

    grants: int = abi.Limit.MAX_GRANTS  # full: new addresses are left out of answers
    slots: int = abi.Limit.SLOTS  # distinct port sets on one address; more: left out
    names_per_grant: int = 64  # remembered one by one; older ones fold into a tail
    names: int = 1 << 19  # over all grants; beyond it every new name folds
    addresses_per_name: int = 1000  # live ones; more are left out of answers
    addresses_per_rule: int = 16384  # live ones, where its `addresses` says nothing else; likewise
    addresses_per_answer: int = 128  # more are left out
    ghosts: int = 16384  # addresses whose last names are kept after the grant ended
    answer_bytes: int = 16 << 20  # cached positive answers; the least used go first
    negative_bytes: int = 4 << 20  # cached NXDOMAIN and NODATA, apart: junk evicts only junk
    failures: int = 8192  # questions whose failure is remembered
    front: int = 8192  # rendered answers of the hot path; the oldest go first
    refusals: int = 2048  # rendered refusals, apart for the same reason
    pending: int = 4096  # questions in flight; more are answered SERVFAIL at once
    waiters: int = 128  # clients behind one question; more are answered SERVFAIL at once
    closings: int = 65536  # denied names whose addresses are looked up; more stay open
    closings_at_once: int = 16  # their look-ups in flight: clients come first
    keeps: int = 4096  # names of `keep: true`; more are looked up when they are asked for
    keeps_at_once: int = 8  # their look-ups in flight
    keeps_a_second: int = 100  # and begun: more than that come later
    renewals_at_once: int = 32  # answers of the kernel asked for anew; clients come first
    asked_a_minute: int = 100  # names a rule with `close: asked` may have looked up
    asked_label: int = 32  # bytes in a label of such a name (promise 7)
    guarded_domains: int = 1024  # registrable domains whose names are counted; the oldest goes
    guarded_names: int = 65536  # names remembered for it, over all domains; likewise
