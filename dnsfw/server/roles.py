"""Whose query is it? The one place that turns what the kernel says into a role."""

from __future__ import annotations

from dnsfw.model import HOST, RoleId

__all__ = ["role_of_mark"]


def role_of_mark(mark: int) -> RoleId:
    """The role of a query, from the mark that came with it.

    The skb hook that sees a packet for a listener overwrites skb->mark with the
    sender's role. A query without a mark was seen by no hook of ours: from another
    namespace, a forwarding interface, or before the wall. Until a policy can name
    roles every such sender is `host` by definition, and its answer opens addresses
    for `host` only; when roles come, no mark must mean no answer. A mark that is not
    ours (somebody else's fwmark) is never believed to be a role for the same reason.
    """
    del mark  # every role is `host` until roles come
    return HOST
