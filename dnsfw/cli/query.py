"""`dnsfw query`: a look-up as a client makes it, and what the policy made of it."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
from dnslib import EDNS0, QTYPE, RCODE, DNSError, DNSQuestion, DNSRecord

from dnsfw.cli.client import Client, run_dir_option
from dnsfw.cli.render import json_option, print_json, table
from dnsfw.datapath import cgroup
from dnsfw.errors import ConfigError, DatapathError, WireError
from dnsfw.server.address import Endpoint, parse_endpoint
from dnsfw.server.escape import safe
from dnsfw.wire.codes import Ede
from dnsfw.wire.name import from_text, to_text
from dnsfw.wire.stream import Frames, frame

DEFAULT_LISTEN = "127.0.53.53:53"  # where a policy that says nothing listens
_PATIENCE = 6.0  # seconds: dnsfw itself gives an answer, if only SERVFAIL, within 5
_EDE = 15  # the option's number (RFC 8914)
_BY_POLICY = {Ede.BLOCKED, Ede.CENSORED, Ede.FILTERED, Ede.PROHIBITED}
_LONGEST = 65535
_NO = 1
_HOST = 3
_HOST_ROLE = "host"
_EXIT = {"allowed": 0, "no data": 0, "refused": _NO, "no such name": _NO, "failed": _HOST}


@click.command("query", short_help="Look a name up through the policy.")
@click.argument("name")
@click.argument("rtype", metavar="[TYPE]", default="A")
@click.option("--server", metavar="ADDR:PORT", help="Ask here, not where the daemon listens.")
@click.option("--tcp", is_flag=True, help="Ask over TCP.")
@click.option(
    "--role", metavar="ROLE",
    help="Ask as this role, through the control socket; what it opens is open for ROLE alone.",
)  # fmt: skip
@json_option
@run_dir_option
@click.pass_context
def query(
    ctx: click.Context,
    name: str,
    rtype: str,
    server: str | None,
    tcp: bool,
    role: str | None,
    as_json: bool,
    run_dir: str | None,
) -> None:
    """Look NAME up through the daemon, as any client would; this opens its addresses for the
    role that asks.

    Where no hook of the wall sees this command, its query has no role and would be refused:
    then root asks as `host` through the control socket, and who may only look is told what
    the policy says, without a look-up. TYPE is A unless given. Exit 0: answered. 1: refused
    by the policy, or there is no such name. 3: no answer.
    """
    if role is not None and (server is not None or tcp):
        raise ConfigError("--role asks through the control socket: no --server, no --tcp")
    wire = _question(name, rtype)
    began = time.monotonic()
    state = _state(run_dir) if role is None and server is None else {}
    if state and not tcp and _is_unseen(state["hooks"]):
        role = _HOST_ROLE  # what we send by ourselves would only be refused, and be in the log
    if role is None:
        endpoint = parse_endpoint(server) if server is not None else _listening(state)
        reply = _heard(endpoint, wire, tcp)
        how = str(endpoint)
        if server is None and _extended_error(reply)[0] == Ede.PROHIBITED:
            role = _HOST_ROLE  # no hook saw us: nobody knows whose the query is
    if role is not None:
        said = _through_the_daemon(wire, role, run_dir)
        if "judged" in said:
            _print_judgement(said, as_json)
            ctx.exit(_NO if said["judged"] == "deny" else 0)
        reply = DNSRecord.parse(bytes.fromhex(said["wire"]))
        how = f"as role {said['role']}, for which alone it opens addresses"
    result = _result(name, rtype.upper(), how, reply, time.monotonic() - began)
    result["role"] = role
    if as_json:
        print_json(result)
    else:
        click.echo("\n".join(_lines(result)))
    ctx.exit(_EXIT[result["verdict"]])


def _heard(endpoint: Endpoint, wire: bytes, tcp: bool) -> DNSRecord:
    try:
        return DNSRecord.parse(_exchange(endpoint, wire, tcp))
    except OSError as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
        raise DatapathError(
            f"{endpoint}: {why}; is dnsfw up, and in this network namespace? see `dnsfw status`; "
            "`--role host` asks it without the network"
        ) from None
    except (DNSError, WireError) as error:
        raise DatapathError(f"{endpoint} did not answer in DNS: {error}") from None


def _through_the_daemon(wire: bytes, role: str, run_dir: str | None) -> dict[str, Any]:
    question = DNSRecord.parse(wire).q
    return Client(run_dir).ask(
        "resolve", name=to_text(from_text(str(question.qname))), qtype=question.qtype, role=role
    )


def _print_judgement(said: dict[str, Any], as_json: bool) -> None:
    """For who may only look."""
    if as_json:
        print_json({key: said[key] for key in ("name", "role", "judged", "reason", "rule")})
        return
    word = "would be looked up" if said["judged"] == "allow" else "would be refused"
    why = said["rule"] or said["reason"]
    click.echo(f"{said['name']}: {word} for role {said['role']} ({why})")
    click.echo("  not looked up, nothing opened: that takes the right to change (sudo)")


def _question(name: str, rtype: str) -> bytes:
    """The query's bytes. ConfigError where name or type cannot be."""
    try:
        labels = to_text(from_text(name.encode("idna").decode() if not name.isascii() else name))
        number = getattr(QTYPE, rtype.upper())
    except (WireError, UnicodeError) as error:
        raise ConfigError(f"{safe(name)!r} is not a domain name: {error}") from None
    except DNSError:
        raise ConfigError(f"{safe(rtype)!r} is not a record type; as in A, AAAA, HTTPS") from None
    record = DNSRecord(q=DNSQuestion(labels, number))
    record.add_ar(EDNS0(udp_len=1232))
    return bytes(record.pack())


def _state(run_dir: str | None) -> dict[str, Any]:
    """Of the daemon, or nothing: it is not for every user to know; anybody may ask, though."""
    try:
        return Client(run_dir).ask("status")
    except ConfigError:
        return {}


def _is_unseen(hooks: list[dict[str, Any]]) -> bool:
    """Whether no hook will say whose our query is: for certain, else it is sent."""
    guarded = [Path(hook["where"]) for hook in hooks if hook["how"] == "cgroup"]
    if not guarded or any(hook["where"].split()[0] == "lo" for hook in hooks):
        return False
    try:
        mine = cgroup.here()
        above = {cgroup.id_of(place) for place in (mine, *mine.parents)}
        return above.isdisjoint(cgroup.id_of(place) for place in guarded)
    except (OSError, DatapathError):
        return False


def _listening(state: dict[str, Any]) -> Endpoint:
    endpoint = parse_endpoint(state["listen"][0] if state else DEFAULT_LISTEN)
    if endpoint.wildcard:
        loopback = "::1" if endpoint.address.version == 6 else "127.0.0.1"
        return replace(endpoint, address=ip_address(loopback))
    return endpoint


def _exchange(endpoint: Endpoint, wire: bytes, tcp: bool) -> bytes:
    """One query, one reply; over TCP when asked for, or when UDP says it is too long."""
    if tcp:
        return _exchange_tcp(endpoint, wire)
    with socket.socket(endpoint.family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect(endpoint.sockaddr)
        sock.send(wire)
        reply = sock.recv(_LONGEST)
    truncated = len(reply) > 2 and reply[2] & 0x02
    return _exchange_tcp(endpoint, wire) if truncated else reply


def _exchange_tcp(endpoint: Endpoint, wire: bytes) -> bytes:
    frames = Frames()
    with socket.socket(endpoint.family, socket.SOCK_STREAM) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect(endpoint.sockaddr)
        sock.sendall(frame(wire))
        while data := sock.recv(_LONGEST):
            if messages := frames.feed(data):
                return messages[0]
    raise ConnectionResetError(0, "the connection was closed without an answer")


def _result(name: str, rtype: str, how: str, reply: DNSRecord, seconds: float) -> dict[str, Any]:
    code, text = _extended_error(reply)
    rcode = RCODE.get(reply.header.rcode)
    return {
        "name": safe(name),
        "type": rtype,
        "server": how,
        "verdict": _verdict(rcode, code, bool(reply.rr)),
        "rcode": rcode,
        "error": None if code is None else {"code": code, "text": text},
        "answers": [
            {
                "name": safe(str(rr.rname)),
                "ttl": rr.ttl,
                "type": str(QTYPE.get(rr.rtype)),
                "data": safe(str(rr.rdata)),
            }
            for rr in reply.rr
        ],
        "milliseconds": round(seconds * 1000, 1),
    }


def _extended_error(reply: DNSRecord) -> tuple[int | None, str]:
    """The code and text of RFC 8914, where the reply has them."""
    for record in reply.ar:
        if record.rtype == QTYPE.OPT:
            for option in record.rdata:
                if option.code == _EDE and len(option.data) >= 2:
                    return int.from_bytes(option.data[:2], "big"), safe(bytes(option.data[2:]))
    return None, ""


def _verdict(rcode: str, code: int | None, answered: bool) -> str:
    if code in _BY_POLICY:
        return "refused"
    match rcode:
        case "NOERROR":
            return "allowed" if answered else "no data"
        case "NXDOMAIN":
            return "no such name"
        case "REFUSED":
            return "refused"
    return "failed"


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [f"{result['name']} {result['type']}: {result['verdict']} ({result['rcode']})"]
    if (error := result["error"]) is not None:
        known = {e.value: e.name.lower().replace("_", " ") for e in Ede}
        what = known.get(error["code"], f"error {error['code']}")
        lines.append(f"  {what}: {error['text']}" if error["text"] else f"  {what}")
        if error["text"].startswith("rule "):  # an id: the text may be the policy's secret
            whose = f" --role {role}" if (role := result["role"]) not in (None, _HOST_ROLE) else ""
            lines.append(f"  `dnsfw explain{whose} {result['name']}` says which rule that is")
    if result["answers"]:
        rows = [(a["name"], a["ttl"], a["type"], a["data"]) for a in result["answers"]]
        shown = table(("NAME", "TTL", "TYPE", "DATA"), rows)
        lines += [f"  {line}" for line in shown.splitlines()]
    lines.append(f"  {result['server']}, {result['milliseconds']} ms")
    return lines
