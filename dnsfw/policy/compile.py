"""From a policy file to a compiled policy: all errors at once, or a policy with its warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path as FilePath

from dnsfw.model import HOST, Mode, RoleId, RuleId, Verdict, abi
from dnsfw.policy.case import Case, compile_cases, read_cases
from dnsfw.policy.compile_access import compile_access
from dnsfw.policy.compile_dns import compile_dns
from dnsfw.policy.compile_log import compile_log
from dnsfw.policy.compile_questions import compile_questions
from dnsfw.policy.compile_remote import Sources
from dnsfw.policy.compile_rules import METADATA_WORD, VERDICTS, RuleCompiler
from dnsfw.policy.compile_subjects import compile_subjects
from dnsfw.policy.conflicts import find_conflicts, find_warnings
from dnsfw.policy.copies import Copies
from dnsfw.policy.difference import diff
from dnsfw.policy.files import find_policy
from dnsfw.policy.merge import read_parts
from dnsfw.policy.policy import HOST_NAME, Policy, RolePolicy
from dnsfw.policy.problems import Problems
from dnsfw.policy.remote import Texts
from dnsfw.policy.resolvers import ENCRYPTED_WORD, encrypted_dns, warn_of_ports
from dnsfw.policy.role_ids import assign_ids
from dnsfw.policy.rule import Rule, Ttl
from dnsfw.policy.syntax import PolicySection
from dnsfw.policy.syntax_check import Checked, CheckedRole, check_document
from dnsfw.policy.syntax_roles import RoleSection
from dnsfw.policy.syntax_rules import RuleSection
from dnsfw.policy.syntax_yaml import Document, Path
from dnsfw.policy.texts import read_texts, renewed

__all__ = ["compile_text", "diff", "find_policy", "load", "renew"]

_MODES = {"enforce": Mode.ENFORCE, "audit": Mode.AUDIT}


def load(
    path: FilePath, known: Mapping[str, int] | None = None, copies: Copies | None = None
) -> Policy:
    """The policy in a file, with what `policy.d` beside a `policy.yaml` adds to it. PolicyError
    holds everything that is wrong with it.

    `NAME.test.yaml` beside `NAME.yaml` holds more of its tests. `known` has the ids of roles
    that were handed out before: a name keeps its id. `copies` are of what comes over https.
    """
    sources, problems = Sources(copies or Copies()), Problems()
    texts = read_texts(path, sources, problems)
    return _whole(texts, known, sources, problems)


def renew(policy: Policy, known: Mapping[str, int] | None, copies: Copies) -> Policy:
    """The policy of the same texts, with what comes over https as these copies have it."""
    sources, problems = Sources(copies), Problems()
    texts = renewed(policy.texts or Texts({}), sources, problems)
    return _whole(texts, known, sources, problems)


def _whole(
    texts: Texts, known: Mapping[str, int] | None, sources: Sources, problems: Problems
) -> Policy:
    if problems.errors:  # without one of the texts the others make no policy
        document = read_parts(texts.files, problems) if texts.files else None
        if document is not None:
            check_document(document, problems, part=True)
        problems.stop_if_any()
    policy = _compile(texts.files, known, sources, problems, texts.cases)
    return replace(policy, texts=texts)


def compile_text(text: str, file: str = "<text>", known: Mapping[str, int] | None = None) -> Policy:
    """The policy in a text; `file` is what positions call it."""
    return _compile({file: text}, known, Sources(), Problems())


def _compile(
    texts: Mapping[str, str],
    known: Mapping[str, int] | None,
    sources: Sources,
    problems: Problems,
    cases: Mapping[str, str] | None = None,
) -> Policy:
    """The policy in one text or several, by their files, in the order in which they count;
    `cases` are the texts of files that hold more of its tests.
    """
    document = read_parts(texts, problems)
    checked = check_document(document, problems) if document else None
    if document is None or checked is None:
        problems.stop_if_any()
        raise AssertionError("a document that cannot be read has a problem")
    policy = _Compiler(document, checked, problems, known or {}, sources).policy(tuple(texts))
    ids = {role.name: role.role for role in policy.roles.values()}
    for file, text in (cases or {}).items():
        tests = (*policy.tests, *read_cases(text, file, ids, problems))
        policy = replace(policy, tests=tests, sources=(*policy.sources, file))
    problems.stop_if_any()
    return policy


class _Compiler:
    """One compilation; its parts share the document, for positions, and the problems."""

    def __init__(
        self,
        document: Document,
        checked: Checked,
        problems: Problems,
        known: Mapping[str, int],
        sources: Sources,
    ) -> None:
        self.document = document
        self.checked = checked
        self.problems = problems
        self.sources = sources
        self.rule_ids: set[RuleId] = set()
        self.role_ids = assign_ids((role.name for role in checked.roles), known)
        self.dns = compile_dns(checked.top.dns, document, problems)

    def policy(self, files: tuple[str, ...]) -> Policy:
        checked, top = self.checked, self.checked.top
        ttl = Ttl()
        host = self._role(HOST, HOST_NAME, top, checked.rules, (), ttl)
        roles = {HOST: host}
        for role in checked.roles:
            made = self._named(role, host.ttl)
            roles[made.role] = made
        self._check_all(roles.values())
        subjects = compile_subjects(checked.roles, self.role_ids, self.document, self.problems)
        return Policy(
            roles=roles,
            dns=self.dns,
            sources=files,
            warnings=tuple(sorted(set(self.problems.warnings))),
            subjects=tuple(subjects),
            places=subjects,
            tests=self._tests(),
            degraded=top.degraded == "allow",
            containers=bool(top.host and top.host.containers),
            tables={} if top.tables is None else top.tables.model_dump(exclude_none=True),
            revision=top.revision,
            remotes=tuple(self.sources.met.values()),
            numbers=self._numbers(),
            log=compile_log(top.log, (HOST_NAME, *self.role_ids), self.document, self.problems),
        )

    def _numbers(self) -> dict[int, RoleId]:
        found: dict[int, RoleId] = {}
        for role in self.checked.roles:
            if (number := role.section.number) is None:
                continue
            if number in found:
                where = self.document.place(("roles", role.name, "number"))
                self.problems.error(where, f"two roles have the number {number}", "take one out")
            found[number] = self.role_ids[role.name]
        return found

    def _tests(self) -> tuple[Case, ...]:
        ids = {HOST_NAME: HOST, **self.role_ids}
        return compile_cases(self.checked.tests, ids, self.document, self.problems)

    def _named(self, role: CheckedRole, ttl: Ttl) -> RolePolicy:
        at: Path = ("roles", role.name)
        made = self._role(self.role_ids[role.name], role.name, role.section, role.rules, at, ttl)
        if self.checked.top.mode == "audit" and "mode" not in role.section.model_fields_set:
            self.problems.warn(
                self.document.key_place(at),
                f"'mode: audit' at the top is the role host's: '{role.name}' enforces",
                "write its own mode",
            )
        return made

    def _role(
        self,
        role: RoleId,
        name: str,
        section: PolicySection | RoleSection,
        rules: tuple[tuple[int, RuleSection], ...],
        at: Path,
        base: Ttl,
    ) -> RolePolicy:
        default = VERDICTS[section.default]
        compiler = RuleCompiler(
            self.document,
            self.problems,
            self.rule_ids,
            role=role,
            name=name,
            default=default,
            at=at,
            sources=self.sources,
        )
        ttl = compiler.ttl(section.ttl, base, (*at, "ttl"))
        compiler.compile(rules, ttl)
        find_conflicts(compiler.rules, self.problems)
        implied = self._implied(compiler)
        made = RolePolicy(
            role,
            name,
            default,
            tuple(compiler.rules),
            mode=_MODES[section.mode],
            resolved_only=section.resolved_only,
            metadata=METADATA_WORD in compiler.words,
            ttl=ttl,
            access=compile_access(section, at, self.document, self.problems),
            takeover=self.dns.takeover,
            implied=implied,
            lists=tuple(compiler.lists),
            locked=section.locked or self.checked.top.locked,
            questions=compile_questions(section, default, at, self.document, self.problems),
        )
        self._check_role(made, section.resolved_only, at)
        find_warnings(made, self.problems)
        return made

    def _implied(self, compiler: RuleCompiler) -> tuple[Rule, ...]:
        """Whoever takes over plain queries means the encrypted ones too; under default: deny
        they are refused like everything that no rule names.
        """
        where = compiler.words.get(ENCRYPTED_WORD)
        if where is None and self.dns.takeover and compiler.default is Verdict.ALLOW:
            where = self.document.key_place(("dns", "takeover"))
        if where is None:
            return ()
        warn_of_ports(compiler.rules, self.problems)
        return encrypted_dns(compiler.role, compiler.name, compiler.rules, where, self.rule_ids)

    def _check_role(self, role: RolePolicy, resolved_only: bool, at: Path) -> None:
        """The kernel reads one list for an address: it has a length."""
        for prefix, rules in role.addresses.too_long:
            last = max(rules, key=lambda rule: rule.where)
            self.problems.error(
                last.where,
                f"{len(rules)} address rules cover {prefix.text}, "
                f"{int(abi.Limit.FIXED_ENTRIES)} fit",
                "join their ports into fewer rules",
            )
        if resolved_only and role.default is Verdict.DENY:
            place = self.document.key_place((*at, "resolved_only"))
            self.problems.warn(place, "'resolved_only' changes nothing under default: deny")

    def _check_all(self, roles: Iterable[RolePolicy]) -> None:
        """What no role can say for itself: the sizes of tables that they share."""
        made = list(roles)
        if sum(len(role.addresses.entries) for role in made) > abi.Limit.MAX_FIXED:
            self._error(("rules",), f"more than {int(abi.Limit.MAX_FIXED)} prefixes", "join them")
        if len(self.rule_ids) > abi.Limit.MAX_RULES - abi.RuleId.FIRST:
            self._error(("rules",), f"more than {int(abi.Limit.MAX_RULES)} rules", "use wildcards")
        if self.dns.private == "deny" and all(role.default is Verdict.DENY for role in made):
            place = self.document.key_place(("dns", "private"))
            self.problems.warn(place, "'dns.private' changes nothing under default: deny")

    def _error(self, at: Path, message: str, remedy: str) -> None:
        self.problems.error(self.document.place(at), message, remedy)
