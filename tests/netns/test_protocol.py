"""Abuse of the listener by a guarded program: raw bytes in, and the service lives on."""

from __future__ import annotations

import json
import struct

import pytest
from dnslib import RCODE, DNSRecord

from tests.support.daemon import LISTEN
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

EXAMPLE = policy_of([{"allow": "*.example.com:80"}])
WWW = b"\3www\7example\3com\0"
IN_A = struct.pack("!HH", 1, 1)
SILENCE = "silence"


@pytest.fixture
def world(shared_world: World) -> World:
    """Every row holds with the kernel's answers and without."""
    return shared_world


_ASK = """
import json, socket, sys
said = []
for wire in json.loads(sys.argv[2]):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        s.connect((sys.argv[1], 53))
        s.send(bytes.fromhex(wire))
        try:
            said.append(s.recv(4096).hex())
        except TimeoutError:
            said.append("")
print(json.dumps(said))
"""


def message(
    question: bytes = WWW + IN_A,
    *,
    flags: int = 0x0100,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    rest: bytes = b"",
) -> bytes:
    return struct.pack("!HHHHHH", 0x1234, flags, *counts) + question + rest


def opt(*, version: int = 0, data: bytes = b"", length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return b"\0" + struct.pack("!HHBBHH", 41, 1232, 0, version, 0, size) + data


def ask(world: World, *wires: bytes) -> list[str]:
    """The rcode of each reply, SILENCE where none came; a plain query comes last of all."""
    asked = json.dumps([wire.hex() for wire in (*wires, message())])

    def said() -> list[str]:
        *others, last = map(bytes.fromhex, json.loads(world.python(_ASK, LISTEN, asked)))
        assert DNSRecord.parse(last).short() == "203.0.113.11", "the service lives on"
        return [rcode(reply) if reply else SILENCE for reply in others]

    return world.again(said)


def rcode(reply: bytes) -> str:
    """Extended by the OPT record where there is one (RFC 6891, 6.1.3)."""
    extended = 0
    for record in DNSRecord.parse(reply).ar:
        if record.rtype == 41:
            extended = record.ttl >> 24
    number = extended << 4 | reply[3] & 15
    return "BADVERS" if number == 16 else str(RCODE[number])


def test_row_94_compression_pointers_that_lead_nowhere_are_format_errors(world: World) -> None:
    world.guard(EXAMPLE)

    said = ask(
        world,
        message(b"\xc0\x0c" + IN_A),  # itself
        message(b"\3www\xc0\x20" + IN_A),  # ahead
        message(b"\1a\xc0\x0c" + IN_A),  # back to its own start
        message(b"\xff\xff" + IN_A),
    )

    assert said == ["FORMERR"] * 4


def test_row_95_labels_and_names_that_are_too_long_are_format_errors(world: World) -> None:
    world.guard(EXAMPLE)
    label = bytes([63]) + b"a" * 63

    said = ask(
        world,
        message(label * 4 + b"\0" + IN_A),  # 257 octets
        message(b"\x40" + b"a" * 64 + b"\0" + IN_A),  # a label type that nobody has
        message(b"\x80abc\0" + IN_A),
        message(b"\3ww"),  # cut
    )

    assert said == ["FORMERR"] * 4


def test_row_97_counts_that_lie_are_format_errors(world: World) -> None:
    world.guard(EXAMPLE)

    said = ask(
        world,
        message(counts=(0, 0, 0, 0), question=b""),
        message(counts=(2, 0, 0, 0), question=(WWW + IN_A) * 2),
        message(counts=(65535, 0, 0, 0)),
        message(counts=(1, 3, 0, 0)),
        message(counts=(1, 0, 0, 9)),
        message(rest=b"garbage"),
    )

    assert said == ["FORMERR"] * 6


def test_row_98_a_response_is_met_with_silence_and_other_opcodes_with_notimp(
    world: World,
) -> None:
    world.guard(EXAMPLE)

    response, *opcodes = ask(
        world, message(flags=0x8100), *(message(flags=opcode << 11) for opcode in (1, 2, 4, 5, 6))
    )

    assert response == SILENCE
    assert opcodes == ["NOTIMP"] * 5


def test_row_101_malformed_edns_has_its_own_answers(world: World) -> None:
    world.guard(EXAMPLE)

    said = ask(
        world,
        message(counts=(1, 0, 0, 1), rest=opt(version=1)),
        message(counts=(1, 0, 0, 2), rest=opt() + opt()),
        message(counts=(1, 0, 0, 1), rest=opt(data=b"\0\x0a\0\xff")),  # an option of 255 octets
        message(counts=(1, 0, 0, 1), rest=opt(length=40)),
        message(counts=(1, 0, 0, 1), rest=opt(data=b"\xfd\xe9\0\4data")),  # unknown: ignored
    )

    assert said == ["BADVERS", "FORMERR", "FORMERR", "FORMERR", "NOERROR"]


def test_row_67_case_and_bits_of_the_client_do_not_go_upstream(world: World) -> None:
    world.guard(EXAMPLE)

    said = ask(world, message(b"\4ONLy\7exAMple\3cOM\0" + IN_A, flags=0x0140))

    assert said in (["NOERROR"], ["NXDOMAIN"])
    assert "exAMple" not in world.internet.unbound_log.read_text()


def test_row_134_a_name_with_control_bytes_reaches_no_terminal_as_such(world: World) -> None:
    daemon = world.guard(policy_of([{"deny": "*.example.com"}], default="allow"))
    evil = b"\x1b[2J\r\n\xe2\x80\xae"

    ask_one = message(bytes([len(evil)]) + evil + b"\7example\3com\0" + IN_A)
    world.python(_ASK, LISTEN, json.dumps([ask_one.hex()]))
    shown = daemon.command("status").stdout + daemon.command("grants").stdout
    said = "".join(daemon.said) + shown

    assert not set("\x1b\u202e\r") & set(said)
