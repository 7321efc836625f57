"""A publisher's key, and signatures as minisign writes them."""

from __future__ import annotations

import base64
import os
from hashlib import blake2b

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Signer:
    """`key` is what a policy names."""

    def __init__(self, number: bytes | None = None) -> None:
        self.number = number or os.urandom(8)
        self._secret = Ed25519PrivateKey.generate()
        public = self._secret.public_key().public_bytes_raw()
        self.key = base64.b64encode(b"Ed" + self.number + public).decode()

    def sign(self, data: bytes, comment: str, *, hashed: bool = True) -> bytes:
        """The file beside the data, with this trusted comment."""
        proof = self._secret.sign(blake2b(data).digest() if hashed else data)
        whole = self._secret.sign(proof + comment.encode())
        first = base64.b64encode((b"ED" if hashed else b"Ed") + self.number + proof).decode()
        lines = [
            "untrusted comment: signature of a test", first, f"trusted comment: {comment}",
            base64.b64encode(whole).decode(),
        ]  # fmt: skip
        return ("\n".join(lines) + "\n").encode()
