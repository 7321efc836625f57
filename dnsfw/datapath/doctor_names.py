"""Names that are looked up past dnsfw: resolv.conf, nsswitch, caches, static files."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

from dnsfw.datapath.checks import Check, Host

__all__ = ["name_checks"]

# Name services that answer past resolv.conf, and so past dnsfw.
_SIDE_DOORS = {
    "resolve": "systemd-resolved",
    "mymachines": "systemd-machined",
    "mdns": "Avahi",
    "mdns4": "Avahi",
    "mdns6": "Avahi",
    "mdns4_minimal": "Avahi",
    "mdns6_minimal": "Avahi",
    "mdns_minimal": "Avahi",
    "wins": "Samba",
    "sss": "SSSD",
    "ldap": "LDAP",
}
# Stubs of others: a loopback address, and not ours.
_STUBS = {
    "127.0.0.53": "systemd-resolved",
    "127.0.0.54": "systemd-resolved",
    "127.0.0.11": "Docker",
    "127.0.1.1": "dnsmasq of NetworkManager",
}
_RESOLVED = "/run/systemd/resolve/io.systemd.Resolve"  # nss-resolve's way in (varlink)
_RESOLVED_SERVERS = "/run/systemd/resolve/resolv.conf"
_NSCD = ("/run/nscd/socket", "/var/run/nscd/socket")
# Who writes resolv.conf anew: where its link leads, or what its first lines say.
_KEEPERS = (
    ("systemd-resolved", "systemd/resolve", "set DNS= in resolved.conf, or make it a plain file"),
    ("NetworkManager", "NetworkManager", "set `dns=none` in NetworkManager.conf"),
    ("resolvconf", "resolvconf", "set name_servers in resolvconf.conf"),
    ("dhclient", "dhclient", "`supersede domain-name-servers` in dhclient.conf"),
    ("dhcpcd", "dhcpcd", "`nohook resolv.conf` in dhcpcd.conf"),
    ("Docker", "Docker Engine", "run the container with --dns"),
    ("WSL", "WSL", "set generateResolvConf = false in wsl.conf"),
)
_OWN_NAMES = re.compile(r"(localhost|ip6-|broadcasthost)")
_NOWHERE = ("127.", "0.0.0.0", "fe00::", "ff0")
_SHOWN = 3


def name_checks(host: Host) -> Iterator[Check]:
    """Whether names are asked of dnsfw at all, and who else answers."""
    servers = re.findall(r"^\s*nameserver\s+(\S+)", host.text("/etc/resolv.conf"), re.MULTILINE)
    yield _resolv_conf(host, servers)
    yield _keeper(host)
    services = _services(host)
    yield _nsswitch(services)
    yield _resolved(host, services, servers)
    yield _nscd(host)
    yield _hosts_file(host)


def _resolv_conf(host: Host, servers: list[str]) -> Check:
    ours = {_address(endpoint) for endpoint in host.listening}
    strangers = [server for server in servers if not _is_ours(server, ours)]
    stubs = [f"{server} ({_STUBS[server]})" for server in strangers if server in _STUBS]
    detail = f"nameserver {', '.join(servers)}" if servers else "names no server"
    if stubs:
        detail += f"; not dnsfw: {', '.join(stubs)}"
    own = next(iter(sorted(ours)), "127.0.53.53")
    return Check(
        "resolv.conf",
        bool(servers) and not strangers,
        detail,
        f"point it at dnsfw: `nameserver {own}`, or `dns: {{takeover: true}}` in the policy",
        "names: queries to other servers are refused, not answered",
    )


def _is_ours(server: str, ours: set[str]) -> bool:
    """Without a daemon to ask, any loopback address that is nobody else's may be it."""
    if ours:
        return server in ours
    return (server.startswith("127.") or server == "::1") and server not in _STUBS


def _address(endpoint: str) -> str:
    """`127.0.53.53:53`, `[::1]:53` without its port."""
    return endpoint.rpartition(":")[0].strip("[]")


def _keeper(host: Host) -> Check:
    """Who will overwrite resolv.conf: an hour after it was set is no better than never."""
    link = host.link("/etc/resolv.conf")
    head = "\n".join(host.text("/etc/resolv.conf").splitlines()[:5])
    for who, sign, remedy in _KEEPERS:
        if sign in link or sign in head:
            where = f"it is a link to {link}" if sign in link else "its first lines say so"
            return Check(
                "resolv.conf keeper",
                False,
                f"{who} writes it anew ({where})",
                f"{remedy}; or `dns: {{takeover: true}}` in the policy",
                "names: they fail when it is overwritten (nothing opens by it)",
            )
    return Check("resolv.conf keeper", True, "nobody is known to overwrite it")


def _services(host: Host) -> list[str]:
    found = re.search(r"^\s*hosts:(.*)$", host.text("/etc/nsswitch.conf"), re.MULTILINE)
    return re.sub(r"\[[^]]*\]", " ", found[1].partition("#")[0]).split() if found else []


def _nsswitch(services: list[str]) -> Check:
    doors = [service for service in services if service in _SIDE_DOORS]
    who = ", ".join(f"{service} ({_SIDE_DOORS[service]})" for service in doors)
    return Check(
        "nsswitch",
        not doors,
        f"hosts: {' '.join(services) or 'default'}",
        f"take {who} out of the `hosts:` line, or make it ask dnsfw",
        "names found there open no address",
    )


def _resolved(host: Host, services: list[str], servers: list[str]) -> Check:
    """Programs that speak to it past nsswitch (D-Bus, varlink) find it too."""
    status = host.status(_RESOLVED)
    runs = status is not None and stat.S_ISSOCK(status.st_mode)
    ours = {_address(endpoint) for endpoint in host.listening} or {"127.0.53.53"}
    asks = re.findall(r"^\s*nameserver\s+(\S+)", host.text(_RESOLVED_SERVERS), re.MULTILINE)
    forwards = bool(asks) and set(asks) <= ours
    used = "resolve" in services or any(server in _STUBS for server in servers)
    detail = "does not run"
    if runs:
        detail = "asks dnsfw" if forwards else f"asks {', '.join(asks) or 'servers of its own'}"
        detail += f"; {_RESOLVED} answers {'nsswitch' if used else 'who knows of it'}"
    return Check(
        "systemd-resolved",
        not runs or forwards,
        detail,
        f"make it ask dnsfw: DNS={min(ours)} and Domains=~. in /etc/systemd/resolved.conf.d/, "
        "or stop it: systemctl mask --now systemd-resolved",
        "names: it looks them up as itself, so they open nothing for who asked",
    )


def _nscd(host: Host) -> Check:
    cache = any(host.exists(path) for path in _NSCD)
    return Check(
        "nscd",
        not cache,
        "runs and caches names" if cache else "does not run",
        "stop nscd, or set enable-cache hosts no",
        "names: its answers outlive their grants",
    )


def _hosts_file(host: Host) -> Check:
    """Static names; the host's own, and those that lead nowhere, matter to nobody."""
    own = host.text("/etc/hostname").strip()
    names: list[str] = []
    for line in host.text("/etc/hosts").splitlines():
        address, *rest = line.partition("#")[0].split() or [""]
        if address and not address.startswith(_NOWHERE) and address not in ("::1", "::"):
            names += [name for name in rest if not _OWN_NAMES.match(name) and name != own]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Check(
        "/etc/hosts",
        not names,
        f"gives addresses to {', '.join(names[:_SHOWN])}{more}" if names else "leads nowhere",
        "nothing where they are refused on purpose; else allow the address: "
        "`- allow: 192.0.2.1:443`",
        "names found there open no address: dnsfw is never asked",
    )
