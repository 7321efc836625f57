"""A test of a policy, as its author wrote it: who goes where, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from dnsfw.errors import ConfigError, WireError
from dnsfw.model import Addr, Name, RoleId, Verdict, addr_from, addr_text
from dnsfw.policy.asked import Asked, parse_asked
from dnsfw.policy.problems import Position, Problems, shown
from dnsfw.policy.syntax_check import check_tests
from dnsfw.policy.syntax_tests import CaseSection
from dnsfw.policy.syntax_yaml import Document, Path, read_document
from dnsfw.values import dataclass
from dnsfw.wire.name import from_text, to_text

__all__ = ["Case", "compile_cases", "read_cases"]


@dataclass(frozen=True, slots=True)
class Case:
    """One destination of one role, with the answer that its name gets, if that matters."""

    where: Position
    role: RoleId
    role_name: str
    expect: Verdict
    asked: Asked
    chain: tuple[Name, ...] = ()  # where CNAMEs lead, in order
    addresses: tuple[Addr, ...] = ()
    by: str = ""  # the text of the rule that must decide; empty: any
    note: str = ""

    @property
    def title(self) -> str:
        who = "" if self.role_name == "host" else f"{self.role_name}: "
        answer = ", ".join([*map(to_text, self.chain), *map(addr_text, self.addresses)])
        tail = f" when it is {answer}" if answer else ""
        return f"{who}{self.expect.name.lower()} {self.asked.text}{tail}"


def compile_cases(
    sections: Iterable[tuple[int, CaseSection]],
    roles: dict[str, RoleId],
    document: Document,
    problems: Problems,
) -> tuple[Case, ...]:
    """The cases of a file; what is wrong with one goes to the problems."""
    found: list[Case] = []
    for index, section in sections:
        found += _Compiler(section, ("tests", index), roles, document, problems).cases()
    return tuple(found)


def read_cases(
    text: str, file: str, roles: dict[str, RoleId], problems: Problems
) -> tuple[Case, ...]:
    """The cases of a file that holds nothing else; what is wrong goes to the problems."""
    document = read_document(text, file, problems)
    if document is None:
        return ()
    return compile_cases(check_tests(document, problems), roles, document, problems)


@dataclass(frozen=True, slots=True)
class _Compiler:
    section: CaseSection
    at: Path
    roles: dict[str, RoleId]
    document: Document
    problems: Problems

    def cases(self) -> list[Case]:
        section = self.section
        written = [key for key in ("allow", "deny") if getattr(section, key) is not None]
        if len(written) > 1:
            self._error(self.at, "a test says allow or deny, not both", "make two tests")
        elif not written and self.document.keys(self.at) <= set(CaseSection.model_fields):
            told = "a test needs allow or deny"  # else what could not be read is told already
            self._error(self.at, told, "write '- allow: example.com:443'")
        role = self.roles.get(section.role)
        if role is None:
            told, known = f"no role {shown(section.role)}", ", ".join(self.roles)
            self._error((*self.at, "role"), told, f"there are {known}")
        answer = self._answer()
        made = []
        for key, index, text in self._destinations(written):
            asked = self._asked(text, (*self.at, key, index))
            if asked and role is not None and answer is not None and len(written) == 1:
                made.append(
                    Case(
                        where=self.document.place((*self.at, key, index)),
                        role=role,
                        role_name=section.role,
                        expect=Verdict[key.upper()],
                        asked=asked,
                        chain=answer[0],
                        addresses=answer[1],
                        by=section.by or "",
                        note=section.note or "",
                    )
                )
        return made

    def _destinations(self, written: Iterable[str]) -> Iterator[tuple[str, int, str]]:
        for key in written:
            for index, text in enumerate(getattr(self.section, key)):
                yield key, index, text

    def _asked(self, text: str, at: Path) -> Asked | None:
        try:
            asked = parse_asked(text)
        except ConfigError as error:
            self._error(at, str(error))
            return None
        if asked.is_addr and self.section.answer:
            self._error((*self.at, "answer"), "an address is not looked up", "take 'answer' out")
            return None
        return asked

    def _answer(self) -> tuple[tuple[Name, ...], tuple[Addr, ...]] | None:
        """Names first, then addresses: the order of an answer."""
        chain: list[Name] = []
        addresses: list[Addr] = []
        for index, text in enumerate(self.section.answer or ()):
            at: Path = (*self.at, "answer", index)
            try:
                addresses.append(addr_from(ip_address(text)))
                continue
            except ValueError:
                pass
            if addresses:
                self._error(at, "a name after an address", "write the CNAMEs first")
                return None
            try:
                chain.append(from_text(text))
            except WireError as error:
                self._error(at, f"{shown(text)}: {error}", "write a name or an address")
                return None
        if chain and not addresses:
            self._error((*self.at, "answer"), "a chain that ends nowhere", "add its addresses")
            return None
        return tuple(chain), tuple(addresses)

    def _error(self, at: Path, message: str, remedy: str = "") -> None:
        self.problems.error(self.document.place(at), message, remedy)
