"""The SDK's examples: found in docstrings and guides, and prepared so that a test can run them.

Names and phone numbers are made an example's own, so that no two disturb each other. What would go
on for ever is told where it must come past: each branch in a loop over events, and each handler of a
bot, has a mark at its end. Once all were reached, the loop is left, or the bot stopped.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType

import msgspec

import tidings.bot
import tidings.client
import tidings.client.blocking

ROOT = Path(__file__).parents[2]
MODULES = (tidings.client, tidings.client.blocking, tidings.bot)
DOCS = (
    "docs/start/quickstart.md",
    "docs/guides/python-sdk.md",
    "docs/guides/bots.md",
    "docs/guides/groups.md",
    "docs/guides/protect-a-profile.md",
)
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
URL = "http://127.0.0.1:8080"
"""what the examples call the server"""
MARK = "mark_that_it_came_past"


@dataclass(frozen=True)
class Example:
    """A piece of code, and who must exist before it runs."""

    name: str
    code: str
    imports: ModuleType | None
    """whose exports it may use without a word; of a guide: none"""
    suffix: str = ""
    """what the names in it end with"""

    def __str__(self) -> str:
        return self.name

    @property
    def alice(self) -> str:
        """Her handle."""
        return f"alice{self.suffix}"

    @property
    def bob(self) -> str:
        """His handle."""
        return f"bob{self.suffix}"

    @property
    def has_bot(self) -> bool:
        """Whether a bot runs in it."""
        return re.search(r"\bbot\b", self.code) is not None

    def accounts(self) -> set[str]:
        """The handles that must exist."""
        named = re.findall(r"[\"']@([a-z]\w+)|handle=\"(\w+)\"|profiles/(\w+)", self.code)
        found = {name for names in named for name in names if name}
        return (found | {self.alice, self.bob}) - self.registered() - self.new_profiles()

    def opened(self) -> set[str]:
        """Whose profiles it opens, of those that exist."""
        found = re.findall(r"(?:open|Bot)\(\s*\"profiles/(\w+)\"", self.code)
        return set(found) & self.accounts()

    def registered(self) -> set[str]:
        """The handles that it registers itself."""
        return set(re.findall(r"register\([^)]*?handle=\"(\w+)\"", self.code, re.DOTALL))

    def new_profiles(self) -> set[str]:
        """The profiles that it makes itself."""
        return set(re.findall(r"profile=\"profiles/(\w+)\"", self.code)) - self.registered()

    def renamed(self, suffix: str, url: str = URL) -> "Example":
        """The same of other people, perhaps on another server. `suffix` is a hexadecimal number."""
        assert not self.suffix
        names = "|".join(sorted(self.accounts() | self.registered() | self.new_profiles()))
        code = re.sub(rf"\b({names})\b(?!\()", rf"\1_{suffix}", self.code)
        code = re.sub(r"(?<=\+49 30 )\d{6}", f"{int(suffix, 16):06}", code)
        return Example(self.name, code.replace(URL, url), self.imports, f"_{suffix}")


def found() -> list[Example]:
    """All examples."""
    examples = []
    for module in MODULES:
        examples += _blocks(module.__name__, inspect.getdoc(module) or "", module)
        for owner, name, documented in _public(module):
            examples += _blocks(f"{owner}.{name}".strip("."), documented, module)
    for path in DOCS:
        examples += _blocks(path, (ROOT / path).read_text(), None)
    return examples


def lacking() -> list[str]:
    """What is public and has no example."""
    return [
        f"{owner}.{name}"
        for module in MODULES
        for owner, name, documented in _public(module)
        if name and not BLOCK.search(documented)
    ]


def _public(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Class, member and docstring; with an empty member, of the class itself."""
    for exported in module.__all__:
        kind = getattr(module, exported)
        if not inspect.isclass(kind) or _is_value(kind):
            continue
        owner = f"{module.__name__.removeprefix('tidings.')}.{exported}"
        yield owner, "", inspect.cleandoc(kind.__doc__ or "")
        for name, member in vars(kind).items():
            inner = getattr(member, "__func__", member)
            if not name.startswith("_") and (inspect.isfunction(inner) or isinstance(inner, property)):
                yield owner, name, inspect.cleandoc(inner.__doc__ or "")


def _is_value(kind: type) -> bool:
    if issubclass(kind, Exception | Enum | msgspec.Struct | tuple):
        return True
    return is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def _blocks(name: str, text: str, module: ModuleType | None) -> Iterator[Example]:
    blocks = [textwrap.dedent(block[2]) for block in BLOCK.finditer(text)]
    for number, code in enumerate(blocks, 1):
        whole = code
        if re.search(r"\bbot\b", code) and "Bot(" not in code:
            whole = f'bot = Bot("profiles/echo")\n{code}'
            whole += "" if "serve()" in code else "bot.run()\n"
        yield Example(name if len(blocks) == 1 else f"{name}-{number}", whole, module)


# --- marks ----------------------------------------------------------------------------------


class Marks(ast.NodeTransformer):
    """Puts marks into an example's code: calls of `MARK` with a number, and whether to leave there."""

    def __init__(self, example: Example) -> None:
        self.lines: list[int] = []
        """of each mark"""
        self._in_loop = False
        tree = self.visit(ast.parse(example.code, example.name))
        self.tree: ast.Module = ast.fix_missing_locations(tree)

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._loop(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        return self._loop(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._handler(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._handler(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return self._branch(node)

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        return self._branch(node)

    def _loop(self, node: ast.For | ast.AsyncFor) -> ast.AST:
        call = node.iter
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in ("events", "changes")
        ):
            return self.generic_visit(node)
        ends = bool(call.keywords) or any(isinstance(one, ast.Break | ast.Return) for one in ast.walk(node))
        self._in_loop = True
        self.generic_visit(node)
        self._in_loop = False
        self._mark(node.body, leave=not ends)
        return node

    def _handler(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        if any("bot." in ast.unparse(one) for one in node.decorator_list):
            self._mark(node.body)
        return node

    def _branch(self, node: ast.If | ast.match_case) -> ast.AST:
        self.generic_visit(node)
        if self._in_loop:
            self._mark(node.body)
        return node

    def _mark(self, body: list[ast.stmt], *, leave: bool = False) -> None:
        jumps = isinstance(body[-1], ast.Return | ast.Break | ast.Continue | ast.Raise)
        call = ast.parse(f"{MARK}({len(self.lines)}, leave={leave})").body[0]
        self.lines.append(body[-1].lineno)
        body.insert(len(body) - jumps, call)
