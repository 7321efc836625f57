"""Steps that all work or are all taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any


class Change:
    """Use as a with block: an exception inside takes back what was done, the last step first."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._always = ExitStack()

    def undo(self, call: Callable[..., Any], *args: Any) -> None:
        """To be called if the whole fails."""
        self._undo.callback(call, *args)

    def always(self, call: Callable[..., Any], *args: Any) -> None:
        """To be called at the end either way, after any undoing."""
        self._always.callback(call, *args)

    @contextmanager
    def part(self) -> Iterator[Change]:
        """Steps that may fail alone; if they work, they share the fate of the whole."""
        part = Change()
        try:
            yield part
        except BaseException:
            part._undo.close()
            raise
        else:
            self.undo(part._undo.pop_all().close)
        finally:
            self.always(part._always.pop_all().close)

    def __enter__(self) -> Change:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._always:
            if error is None:
                self._undo.pop_all()
            else:
                self._undo.close()
