from __future__ import annotations

import pytest
from pydantic import ValidationError

from dnsfw.policy.syntax_log import LogSection


@pytest.mark.parametrize(("text", "size"), [("64M", 64 << 20), ("1G", 1 << 30), ("9K", 9 << 10)])
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert LogSection.model_validate({"size": text}).size == size


@pytest.mark.parametrize("value", [64, "64", "64MB", True, "1.5G"])
def test_a_size_without_one_is_an_error_with_a_remedy(value: object) -> None:
    with pytest.raises(ValidationError, match="is no size"):
        LogSection.model_validate({"size": value})
