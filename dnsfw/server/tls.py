"""Whom an encrypted upstream must prove to be (RFC 7858, RFC 8310: strict, never opportunistic).

The certificate must be good, by the host's CAs or by those of `ca:`, and for the name that
the policy says; a pin comes on top. A handshake that ends otherwise is a failure, and no
question was sent. Sessions are resumed for an hour: then everything is proven anew.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from time import monotonic
from typing import Any

from dnsfw.errors import ConfigError
from dnsfw.policy.upstream import Upstream

__all__ = ["Context", "context_for", "public_key", "why_not"]

_SESSION_LIFE = 3600.0
_SEQUENCE = 0x30
_VERSION = 0xA0


class Context(ssl.SSLContext):
    """Of one upstream: asyncio knows of no sessions, so they are kept and given here."""

    session: ssl.SSLSession | None = None
    born: float = 0.0
    pins: tuple[bytes, ...] = ()

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if monotonic() - self.born > _SESSION_LIFE:
            self.session = None
        chosen = session or self.session
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, chosen)

    def keep(self, tls: Any) -> None:
        """Remember the session of a connection that has answered, for the next one."""
        if tls.session is None or not tls.session.has_ticket:
            return
        if not tls.session_reused or self.session is None:
            self.born = monotonic()
        self.session = tls.session

    def check(self, tls: Any) -> None:
        """Is it the key that was pinned? SSLCertVerificationError if not."""
        if not self.pins:
            return
        der = tls.getpeercert(binary_form=True) or b""
        if hashlib.sha256(public_key(der)).digest() not in self.pins:
            raise ssl.SSLCertVerificationError("its public key is not the one that is pinned")


def context_for(upstream: Upstream) -> Context:
    """ConfigError when there is nothing to check a certificate by."""
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Debian's Python 3.11 takes a stream that somebody cut for one that ended (gh-95494).
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.hostname_checks_common_name = False
    context.pins = upstream.pins
    context.set_alpn_protocols(["dot"] if upstream.scheme == "tls" else ["h2", "http/1.1"])
    try:
        if upstream.ca:
            context.load_verify_locations(upstream.ca)
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError) as error:
        what = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else ""
        raise ConfigError(
            f"upstream {upstream}: {upstream.ca or 'the CA store'} holds no certificates "
            f"that could be read{what and f' ({what})'}; name a PEM file with `ca:`"
        ) from None
    if not upstream.ca and not context.cert_store_stats()["x509_ca"] and not _ca_directory():
        raise ConfigError(
            f"upstream {upstream}: this host has no CA certificates; install the package "
            "ca-certificates, or name a PEM file with `ca:`"
        )
    return context


def _ca_directory() -> bool:
    """Certificates in a directory are read when they are needed, so they do not count before."""
    return ssl.get_default_verify_paths().capath is not None


def why_not(error: BaseException) -> str:
    """What went wrong, for people: a line without addresses and source files."""
    if isinstance(error, ssl.SSLCertVerificationError):
        told = getattr(error, "verify_message", "") or str(error.args[0])
        return f"its certificate does not prove who it is: {told.strip().rstrip('.').lower()}"
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or "the handshake failed"
        return f"TLS: {reason.lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, OSError):
        told = os.strerror(error.errno) if error.errno else error.strerror
        return told or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def public_key(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate (RFC 5280, section 4.1), or nothing."""
    try:
        _, certificate, _, _ = _element(der, 0)
        _, at, end, _ = _element(der, certificate)  # tbsCertificate
        tag, _, _, after = _element(der, at)
        if tag == _VERSION:
            at = after
        for _ in range(5):  # serial, signature, issuer, validity, subject
            at = _element(der, at)[3]
        tag, _, _, after = _element(der, at)
    except IndexError:
        return b""
    return der[at:after] if tag == _SEQUENCE and after <= end else b""


def _element(der: bytes, at: int) -> tuple[int, int, int, int]:
    """Tag, where the content begins and ends, and where the next element is."""
    length = der[at + 1]
    start = at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    end = start + length
    if end > len(der):
        raise IndexError
    return der[at], start, end, end
