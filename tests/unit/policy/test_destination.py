from __future__ import annotations

import pytest

from dnsfw.policy.destination import parse_destination
from dnsfw.policy.ports import parse_ports
from dnsfw.policy.problems import Wrong


@pytest.mark.parametrize(
    ("text", "what", "ports", "proto"),
    [
        ("pypi.org:443", "pypi.org", "443", None),
        ("*.pythonhosted.org:443", "*.pythonhosted.org", "443", None),
        ("api-*.example.com:443,8443", "api-*.example.com", "443,8443", None),
        ("10.20.0.0/16:5432/tcp", "10.20.0.0/16", "5432", "tcp"),
        ("[2001:db8::]/32", "[2001:db8::]/32", None, None),
        ("[2001:db8::1]:443", "[2001:db8::1]", "443", None),
        ("[2001:DB8:0::1]:443/udp", "[2001:db8::1]", "443", "udp"),
        ("[2001:db8::]/32:443/tcp", "[2001:db8::]/32", "443", "tcp"),
        ("[::]/0", "[::]/0", None, None),
        ("192.0.2.1", "192.0.2.1", None, None),
        ("192.0.2.1/32", "192.0.2.1", None, None),
        ("192.0.2.1/udp", "192.0.2.1", None, "udp"),
        ("192.0.2.0/24/udp", "192.0.2.0/24", None, "udp"),
        ("192.0.2.1:443/tcp", "192.0.2.1", "443", "tcp"),
        ("github.com:22,443", "github.com", "22,443", None),
        ("x.com/icmp", "x.com", None, "icmp"),
        ("x.com:*", "x.com", "*", None),
        ("x.com:8000-8100/udp", "x.com", "8000-8100", "udp"),
        ("x.com/any", "x.com", None, None),
    ],
)
def test_a_destination_is_read_and_its_text_reads_back(
    text: str, what: str, ports: str | None, proto: str | None
) -> None:
    found = parse_destination(text)

    assert found.what.text == what
    assert found.ports == parse_ports(ports, proto)
    assert parse_destination(found.text) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("x.com:443/6", "write /tcp"),
        ("x.com/6", "write 'x.com/tcp'"),
        ("x.com/443", "write 'x.com:443'"),
        ("443/tcp", "a comma splits"),
        ("8443", "a comma splits"),
        ("10.0.0.1/16", "write '10.0.0.0/16' or '10.0.0.1'"),
        ("10.0.0.0/33", "at most 32"),
        ("[2001:db8::]/129", "at most 128"),
        ("[2001:db8::]/9999999999", "at most 128"),
        ("[2001:db8::1]/32", "write '[2001:db8::]/32'"),
        ("10.0.0.256", "four decimal"),
        ("010.0.0.1", "leading zeros"),
        ("10.0.1", "four decimal"),
        ("0x7f.1", "four decimal"),
        ("3405803785.1", "four decimal"),
        ("2001:db8::1", '"[2001:db8::1]"'),
        ("2001:db8::/32", '"[2001:db8::]/32"'),
        ("[2001:db8::/32]", '"[2001:db8::]/32"'),
        ("[::ffff:10.0.0.1]", "write '10.0.0.1'"),
        ("[fe80::1%eth0]", '"[fe80::1]"'),
        ("[nonsense]:443", "no IPv6 address"),
        ("[10.0.0.1]", "no IPv6 address"),
        ("x.com:443:80", "too many colons"),
        ("https://pypi.org/simple", "write 'pypi.org:443'"),
        ("ssh://git@github.com:2222/x", "write 'github.com:2222'"),
        ("x.com:", "is no port"),
        ("x.com:/tcp", "is no port"),
        ("x.com/", "unknown protocol"),
        ("x.com/tcp/udp", "no destination"),
        (" x.com", "blank"),
        ("x.com\n", "blank"),
        ("x" * 9999, "longer than"),
        ("x.com]", "no destination"),
        ("x.com:443/tcp ", "blank"),
    ],
)
def test_a_wrong_destination_says_what_to_write(text: str, says: str) -> None:
    with pytest.raises(Wrong) as wrong:
        parse_destination(text)

    assert says in f"{wrong.value.message}; {wrong.value.remedy}"
