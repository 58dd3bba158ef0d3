"""The transcript: who did what when, for people. Only kept where somebody will read it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tidings.testing.simulation.loop import Loop
from tidings.testing.simulation.profile import Ref

if TYPE_CHECKING:
    from tidings.testing.simulation.model import Model

AROUND = ("FAULT", "PHASE", "CHECK", "is killed", "drains", "is ready", "goes on", "cannot start")
"""what is told whatever a transcript is about"""


class Line(NamedTuple):
    """Something that happened."""

    at_s: float
    who: str
    what: str
    more: tuple[Any, ...]


class Transcript:
    """Notes lines, if it is asked to."""

    def __init__(self, loop: Loop, *, keeps: bool) -> None:
        self._loop = loop
        self.keeps = keeps
        self.lines: list[Line] = []

    def note(self, who: str, what: str, *more: Any) -> None:
        """Something happened."""
        if self.keeps:
            self.lines.append(Line(self._loop.now_s, who, what, more))


class Names:
    """Short names for what has long ones."""

    def __init__(self, model: "Model", devices: Mapping[Any, str], users: Mapping[Any, str]) -> None:
        self._ids: dict[Any, str] = {**devices, **users}
        self._conversations = model.titles(users)
        self._contents = {ref: said.content.decode() or "delete" for ref, said in model.said.items()}

    def of(self, thing: Any) -> str:
        """How it is called here."""
        if isinstance(thing, Ref):
            content = self._contents.get(thing, "?")
            return f"«{content}» of {self._ids.get(thing.device, thing.device)}"
        if isinstance(thing, bytes):
            return self._conversations.get(thing, repr(thing))  # type: ignore[call-overload, no-any-return]
        if isinstance(thing, int) and thing in self._ids:
            return self._ids[thing]
        if isinstance(thing, msgspec.Struct):
            fields = (f"{name}={self.of(getattr(thing, name))}" for name in thing.__struct_fields__)
            return f"{type(thing).__name__}({', '.join(fields)})"
        return str(thing)


def tell(lines: Iterable[Line], names: Names, about: Iterable[Ref]) -> Iterator[str]:
    """Lines as text: all that concerns some messages, and what went wrong around them."""
    refs = set(about)
    for line in lines:
        concerns = not refs or any(thing in refs for thing in line.more if isinstance(thing, Ref))
        if concerns or line.what.startswith(AROUND):
            more = " ".join(names.of(thing) for thing in line.more)
            yield f"{line.at_s:10.3f}  {line.who:<10} {line.what} {more}"
