"""A throw-away CA and certificates of every kind that a server may show."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

NAME = "dns.example"


@dataclass(frozen=True)
class Pair:
    cert: Path
    key: Path

    def server(self, *alpn: str) -> ssl.SSLContext:
        """What a server with this certificate listens with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


@dataclass
class Ca:
    """`good` is for dns.example and 127.0.0.1; the others are each wrong in one way."""

    where: Path
    made: dict[str, Pair] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._openssl("req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=a CA of the tests",
                      "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip

    @property
    def file(self) -> Path:
        return self.where / "ca.pem"

    @property
    def good(self) -> Pair:
        return self._pair("good", f"DNS:{NAME},IP:127.0.0.1")

    @property
    def other_name(self) -> Pair:
        return self._pair("other", "DNS:evil.example", common=NAME)

    @property
    def expired(self) -> Pair:
        return self._pair("expired", f"DNS:{NAME},IP:127.0.0.1", end="20200102000000Z")

    @property
    def own_word(self) -> Pair:
        """Signed by nobody but itself."""
        if "own" not in self.made:
            self._openssl("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={NAME}", "-addext",
                          f"subjectAltName=DNS:{NAME},IP:127.0.0.1",
                          "-keyout", "own.key", "-out", "own.pem")  # fmt: skip
            self.made["own"] = Pair(self.where / "own.pem", self.where / "own.key")
        return self.made["own"]

    def pin(self, pair: Pair) -> bytes:
        """SHA-256 of its public key, as `openssl` makes it (RFC 7858, A.1)."""
        key = self._openssl("x509", "-in", str(pair.cert), "-pubkey", "-noout")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(
            key.replace("PUBLIC KEY", "CERTIFICATE"))).digest()  # fmt: skip

    def _pair(self, label: str, names: str, *, common: str = NAME, end: str = "") -> Pair:
        if label in self.made:
            return self.made[label]
        (self.where / "new").mkdir(exist_ok=True)
        (self.where / f"{label}.cnf").write_text(
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index\nnew_certs_dir=new\nrand_serial=yes\n"
            "default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
            f"[e]\nsubjectAltName={names}\n"
        )
        (self.where / "index").touch()
        self._openssl("req", *_KEY, "-subj", f"/CN={common}", "-keyout", f"{label}.key",
                      "-out", f"{label}.csr")  # fmt: skip
        times = ["-startdate", "20200101000000Z", "-enddate", end] if end else ["-days", "2"]
        self._openssl("ca", "-batch", "-notext", "-config", f"{label}.cnf", "-extensions", "e",
                      "-cert", "ca.pem", "-keyfile", "ca.key", *times, "-in", f"{label}.csr",
                      "-out", f"{label}.pem")  # fmt: skip
        self.made[label] = Pair(self.where / f"{label}.pem", self.where / f"{label}.key")
        return self.made[label]

    def _openssl(self, *words: str) -> str:
        done = subprocess.run(
            ["openssl", *words], cwd=self.where, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
