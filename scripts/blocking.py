"""The synchronous façade of the SDK, written from the asynchronous classes.

Each public method becomes one of the same name, signature and docstring that runs the asynchronous
one on a loop in a thread (`tidings/client/blocking_loop.py`). Examples in docstrings lose their
`async` and `await`; one that cannot be written without them is an error here, and must be changed
in the asynchronous class.
"""

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

TARGET = Path("src/tidings/client/blocking.py")
CLASSES = {
    "messages": "Messages",
    "chats": "Chats",
    "people": "People",
    "groups": "Groups",
    "presence": "OwnPresence",
    "account": "OwnAccount",
    "devices": "OwnDevices",
    "safety": "Safety",
    "client": "Client",
}
"""The modules of tidings.client, and the class that each has; the last one hands out the others."""

HEAD = '''"""The SDK without asyncio: the same calls, for programs in which everything waits for its turn.

```python
from tidings.client.blocking import Client

with Client.open("profiles/alice") as me:
    me.send("@bob", "hello")
```

Written by scripts/spec; change the asynchronous classes and run `make spec`.
"""
'''
TIMEOUT = "With `timeout_s` the loop ends quietly once nothing came for so long."

WORDS = (
    (r"(?<![\w)\]])\(await ([\w.]+\([^()]*\))\)(?=[.\[])", r"\1"),
    (r"\basync (?=with|for|def)", ""),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit)__", r"__\1__"),
)
"""What is said otherwise in an example."""
PROSE = (("an asynchronous context", "a context"),)


def facade(root: Path) -> str:
    """The whole module. Raises SystemExit where a class cannot be translated."""
    sources = {
        module: ast.parse((root / f"src/tidings/client/{module}.py").read_text()) for module in CLASSES
    }
    needed = {"LoopThread": "from tidings.client.blocking_loop import LoopThread"}
    classes = []
    for module, name in CLASSES.items():
        tree = sources[module]
        found = next((one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == name), None)
        if found is None:
            raise SystemExit(f"scripts/blocking.py: tidings/client/{module}.py has no class {name}")
        classes.append("\n".join(_class(found)))
        needed[f"Async{name}"] = f"from tidings.client.{module} import {name} as Async{name}"
        known = _origins(tree, module)
        needed |= {used: known[used] for used in _names(found) if used in known}
    exported = "".join(f'    "{name}",\n' for name in sorted(CLASSES.values()))
    imports = "\n".join(needed.values())
    text = "\n".join([HEAD, imports, "", f"__all__ = [\n{exported}]", "", *classes])
    return _formatted(root, text)


def _class(source: ast.ClassDef) -> Iterator[str]:
    yield f"class {source.name}:"
    yield from _docstring(source)
    yield from _constructor(source)
    for node in source.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_public(node.name):
            yield from _method(source.name, node)


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__aenter__", "__aexit__")


def _constructor(source: ast.ClassDef) -> Iterator[str]:
    if source.name == "Client":
        yield "    def __init__(self, inner: AsyncClient) -> None:"
        yield '        """Use `Client.open`."""'
        yield "        self._inner = inner"
        yield "        self._loop = LoopThread()"
    else:
        yield f"    def __init__(self, loop: LoopThread, inner: Async{source.name}) -> None:"
        yield "        self._loop = loop"
        yield "        self._inner = inner"
    yield ""


def _method(owner: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    decorators = [ast.unparse(one) for one in node.decorator_list]
    yields = _yielded(node)
    signature = node.args
    if yields:
        extra = ast.parse("def _(*, timeout_s: float | None = None): ...").body[0]
        assert isinstance(extra, ast.FunctionDef)
        signature = ast.arguments(
            signature.posonlyargs,
            signature.args,
            signature.vararg,
            signature.kwonlyargs + extra.args.kwonlyargs,
            signature.kw_defaults + extra.args.kw_defaults,
            signature.kwarg,
            signature.defaults,
        )
    returns = (
        f"Iterator[{yields}]" if yields else "None" if node.returns is None else ast.unparse(node.returns)
    )
    name = node.name.replace("__a", "__")
    for decorator in decorators:
        yield f"    @{decorator}"
    yield f"    def {name}({ast.unparse(signature)}) -> {returns}:"
    yield from _docstring(node, TIMEOUT if yields else "")
    for line in _body(owner, node, decorators, bool(yields)):
        yield f"        {line}"
    yield ""


def _body(
    owner: str, node: ast.FunctionDef | ast.AsyncFunctionDef, decorators: list[str], yields: bool
) -> Iterator[str]:
    passed = "".join(f", {argument}" for argument in _passed(node.args))
    is_async = isinstance(node, ast.AsyncFunctionDef)
    returned = "" if node.returns is None else ast.unparse(node.returns)
    if node.name == "__aenter__":
        yield from ("self._loop.open(self._inner)", "return self")
    elif node.name == "__aexit__":
        yield "self.close()"
    elif owner == "Client" and node.name == "close":
        yield "self._loop.close(self._inner.close)"
    elif yields:
        made = f"lambda: self._inner.{node.name}({passed[2:]})" if passed else f"self._inner.{node.name}"
        yield f"return self._loop.iterate({made}, timeout_s)"
    elif "classmethod" in decorators and is_async:
        yield f"return LoopThread.once(Async{owner}.{node.name}{passed})"
    elif "classmethod" in decorators:
        yield f"return cls(Async{owner}.{node.name}({passed[2:]}))"
    elif is_async and returned == "None":
        yield f"self._loop.call(self._inner.{node.name}{passed})"
    elif is_async:
        yield f"return self._loop.call(self._inner.{node.name}{passed})"
    elif "property" in decorators and returned in CLASSES.values():
        yield f"return {returned}(self._loop, self._inner.{node.name})"
    elif "property" in decorators:
        yield f"return self._inner.{node.name}"
    else:
        yield f"return self._inner.{node.name}({passed[2:]})"


def _yielded(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """What an asynchronous generator yields; empty if this is none."""
    match node.returns:
        case ast.Subscript(value=ast.Name(id="AsyncGenerator"), slice=ast.Tuple(elts=[item, _])):
            return ast.unparse(item)
        case ast.Subscript(value=ast.Name(id="AsyncIterator"), slice=item):
            return ast.unparse(item)
    return ""


def _passed(arguments: ast.arguments) -> Iterator[str]:
    if arguments.vararg is not None or arguments.kwarg is not None:
        raise SystemExit("scripts/blocking.py: it knows nothing of *args and **kwargs")
    yield from (one.arg for one in [*arguments.posonlyargs, *arguments.args][1:])
    yield from (f"{one.arg}={one.arg}" for one in arguments.kwonlyargs)


# --- docstrings -----------------------------------------------------------------------------


def _docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, more: str = "") -> Iterator[str]:
    text = ast.get_docstring(node)
    if text is None:
        return
    prose, fence, rest = text.partition("\n```python\n")
    if more:
        prose = f"{prose.rstrip()}\n{more}\n"
    text = translated(f"{prose}{fence}{rest}", node.name)
    if "\n" in text:
        text += "\n"
    depth = "    " if isinstance(node, ast.ClassDef) else "        "
    raw = "r" if "\\" in text else ""
    yield textwrap.indent(f'{raw}"""{text}"""', depth)
    if isinstance(node, ast.ClassDef):
        yield ""


def translated(text: str, where: str) -> str:
    """A text whose examples are synchronous. Raises SystemExit where one cannot be made so."""

    def block(found: re.Match[str]) -> str:
        code = found[1]
        code = re.sub(r"( *)from tidings\.client import (.*)", _imports, code)
        for pattern, instead in WORDS:
            code = re.sub(pattern, instead, code)
        if left := re.search(r"\b(async|await|asyncio|anext|aclosing)\b", code):
            raise SystemExit(
                f"scripts/blocking.py: the example of {where} cannot do without {left[0]}\n"
                "hint: write it otherwise in the asynchronous class"
            )
        return f"```python\n{code}```"

    for words, instead in PROSE:
        text = text.replace(words, instead)
    return re.sub(r"```python\n(.*?)```", block, text, flags=re.DOTALL)


def _imports(found: re.Match[str]) -> str:
    """The import of an example, with the synchronous `Client`."""
    depth, names = found[1], found[2].split(", ")
    lines = [f"{depth}from tidings.client import {', '.join(one for one in names if one != 'Client')}"]
    if "Client" in names:
        lines = [*(lines if len(names) > 1 else []), f"{depth}from tidings.client.blocking import Client"]
    return "\n".join(lines)


# --- imports --------------------------------------------------------------------------------


def _names(source: ast.ClassDef) -> set[str]:
    """The names that the signatures of a class use."""
    found: set[str] = set()
    for node in source.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_public(node.name):
            parts: list[ast.AST | None] = [node.args, node.returns]
            found |= {"Iterator"} if _yielded(node) else set()
            for part in parts:
                found |= {one.id for one in ast.walk(part or ast.Pass()) if isinstance(one, ast.Name)}
    return found - set(CLASSES.values()) - {"AsyncGenerator", "AsyncIterator"}


def _origins(tree: ast.Module, module: str) -> dict[str, str]:
    """How each name of a module is imported from elsewhere."""
    found = {"Iterator": "from collections.abc import Iterator"}
    for node in tree.body:
        match node:
            case ast.ImportFrom(module=str(source), names=names):
                for one in names:
                    renamed = f" as {one.asname}" if one.asname else ""
                    found[one.asname or one.name] = f"from {source} import {one.name}{renamed}"
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = f"from tidings.client.{module} import {name}"
            case ast.ClassDef(name=name):
                found[name] = f"from tidings.client.{module} import {name}"
    return found


def _formatted(root: Path, text: str) -> str:
    ruff = Path(sys.executable).parent / "ruff"
    for arguments in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        done = subprocess.run(  # noqa: S603 - our own words
            [ruff, *arguments, "--stdin-filename", str(TARGET), "-"],
            input=text,
            capture_output=True,
            text=True,
            cwd=root,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"scripts/blocking.py: {done.stderr or done.stdout}")
        text = done.stdout
    return text
