"""Certificates, pins and what is said of a handshake that failed."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest

from dnsfw.errors import ConfigError
from dnsfw.policy.upstream import Upstream
from dnsfw.server.tls import context_for, public_key, why_not
from tests.support.certs import Ca


def upstream(ca: Path | str = "") -> Upstream:
    return Upstream("tls", "dns.example", 853, "dns.example", ca=str(ca))


def test_the_public_key_of_a_certificate_is_what_openssl_says(ca: Ca) -> None:
    der = ssl.PEM_cert_to_DER_cert(ca.good.cert.read_text())

    assert hashlib.sha256(public_key(der)).digest() == ca.pin(ca.good)
    for end in (0, 1, 5, 40, 100):
        assert public_key(der[:end]) == b""


def test_certificates_are_required_and_names_are_checked(ca: Ca) -> None:
    context = context_for(upstream(ca.file))

    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] == 1  # and no CA of the host


@pytest.mark.parametrize("text", ["", "no certificate\n", None])
def test_a_ca_file_that_holds_nothing_is_a_mistake(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigError, match=r"ca\.pem holds no certificates .*`ca:`"):
        context_for(upstream(path))


def test_failures_are_lines_for_people() -> None:
    assert why_not(ConnectionResetError(104, "x")) == "Connection reset by peer"
    assert why_not(TimeoutError()) == "no connection in time"
    assert why_not(ssl.SSLError(1, "[SSL: X] y (_ssl.c:1)")).startswith("TLS: ")
    pinned = ssl.SSLCertVerificationError("its public key is not the one that is pinned")
    assert "pinned" in why_not(pinned)
