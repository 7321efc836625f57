"""The options of what comes over https: the same for a list and for a whole policy."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from dnsfw.policy import remote
from dnsfw.policy.problems import shown
from dnsfw.policy.remote import Demands
from dnsfw.policy.syntax_parts import Duration, Section

__all__ = ["LimitsSection", "RemoteKeys", "RemoteSection", "remote_section"]

_SIZE = re.compile(r"([0-9]{1,6})(KiB|MiB)")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}
_KEY_BYTES = 42  # minisign: "Ed", 8 bytes of a number, 32 of the key


def _said(message: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("said", "{message}", {"message": message, "remedy": remedy})


def _bytes(value: object) -> int:
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        return int(found[1]) * _UNITS[found[2]]
    raise _said(f"{shown(value)} is no size", "write 64MiB or 500KiB")


def _key(value: object) -> object:
    """The second line of `minisign.pub`."""
    if not isinstance(value, str):
        return value
    try:
        raw = base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != _KEY_BYTES or not raw.startswith(b"Ed"):
        raise _said(
            f"{shown(value)} is no minisign public key",
            "copy the second line of minisign.pub, which begins with RW",
        )
    return value


def _digest(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise _said(f"{shown(value)} is no SHA-256", "write the 64 digits that sha256sum prints")
    return value


Size = Annotated[
    int,
    BeforeValidator(
        _bytes, json_schema_input_type=Annotated[str, Field(pattern=r"^[0-9]{1,6}(KiB|MiB)$")]
    ),
]


def _within(least: int, most: int, told: str) -> AfterValidator:
    def check(value: int, info: ValidationInfo) -> int:
        if not least <= value <= most:
            name = shown(info.field_name or "")
            raise _said(f"{name} is {told}", f"write {told.partition(' ')[0]} or more, within that")
        return value

    return AfterValidator(check)


_Refresh = Annotated[Duration, _within(remote.LEAST_REFRESH, remote.MOST_REFRESH, "5m to 30d")]
_Time = Annotated[Duration, _within(1, remote.MOST_TIME, "1s to 1h")]
_MostBytes = Annotated[Size, _within(1, remote.MOST_SIZE, "1KiB to 512MiB")]


class LimitsSection(Section):
    """What a download must not be; a refused one leaves the one before it in force."""

    size: _MostBytes = Field(
        default=remote.SIZE, description="not larger (64MiB)"
    )
    lines: int = Field(default=remote.LINES, ge=1, description="not more lines (5000000)")
    time: _Time = Field(default=remote.TIME, description="not slower, all in all (2m)")
    refused: int = Field(
        default=remote.REFUSED, ge=0, le=100,
        description="percent of lines that are no rules (50; adblock: 95)",
    )  # fmt: skip
    shrink: int = Field(
        default=remote.SHRINK, ge=1, description="not fewer rules than 1/N of the last (4)"
    )
    grow: int = Field(
        default=remote.GROW, ge=1, description="not more than N times the rules of the last (10)"
    )

    def demands(self) -> Demands:
        return Demands(
            self.size, self.lines, self.time, self.refused, self.shrink, self.grow
        )  # fmt: skip


class RemoteKeys(Section):
    """For what comes over https."""

    refresh: _Refresh | None = Field(
        default=None, description="how often to look for a newer one (24h; 5m to 30d)"
    )
    sha256: Annotated[str, BeforeValidator(_digest)] | None = Field(
        default=None, description="of the only content that is taken",
        json_schema_extra={"pattern": "^[0-9a-f]{64}$"},
    )  # fmt: skip
    key: Annotated[str, BeforeValidator(_key)] | None = Field(
        default=None, description="minisign public key: URL.minisig must be its signature"
    )
    ca: str | None = Field(
        default=None, min_length=1, description="a file of CA certificates, for a CA of your own"
    )
    limits: LimitsSection | None = Field(default=None, description="what a download must not be")

    @property
    def remote_keys(self) -> list[str]:
        """The options that only a URL can have, as far as they were written."""
        return sorted(self.model_fields_set & set(_KEYS))


_KEYS = (*RemoteKeys.model_fields, "optional")


class RemoteSection(RemoteKeys):
    """A whole policy that comes over https; this file may add to it."""

    policy: str = Field(min_length=1, description="https://…")


def remote_section(value: object) -> RemoteSection | None:
    """The section in a plain value; None where there is none, or a wrong one."""
    try:
        return RemoteSection.model_validate(value)
    except ValidationError:
        return None
