"""Alice and Bob: people whose devices are the real SDK on real nodes, to tell a test as a chat.

```python
alice, bob = await scene.friends("alice", "bob")
await alice.phone.sends(bob, "Supper at seven?")
await bob.phone.shows(alice, "alice: Supper at seven?")
```

What somebody does returns when their device says that it is done. What a device `shows`, `sees` or
`lists` is waited for: the test goes on once it is so, and fails with what was shown instead and with
all that had happened. Nothing waits for a guessed time.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from tidings.client import GroupRole, Message, Rules
from tidings.client.enrolment import save
from tidings.client.http import Server
from tidings.protocol.api import Credentials, LoggedIn, NewAccount
from tidings.protocol.errors import ProtocolError
from tidings.protocol.ids import DeviceId, UserId
from tidings.server.services import Services
from tidings.testing.nodes import Node
from tidings.testing.program import Program
from tidings.testing.screen import chat_line, chat_lines
from tidings.testing.stage import Stage
from tidings.testing.world import PASSWORD

T = TypeVar("T")


class Person:
    """Somebody with an account, and up to three devices; `sealed` false: these encrypt nothing."""

    def __init__(self, stage: Stage, handle: str, *, sealed: bool = True) -> None:
        self.handle = handle
        self.sealed = sealed
        self.phone = Device(stage, self, "phone")
        self.laptop = Device(stage, self, "laptop")
        self.tablet = Device(stage, self, "tablet")

    @property
    def devices(self) -> tuple["Device", ...]:
        """All of them, also those that do not exist yet."""
        return self.phone, self.laptop, self.tablet

    def __str__(self) -> str:
        return self.handle


class Group(NamedTuple):
    """A group that somebody has made: by this it is meant, whatever it is called."""

    peer: str
    name: str

    @property
    def handle(self) -> str:
        """What the SDK takes."""
        return self.peer

    def __str__(self) -> str:
        return self.name


To = Person | Group


class Device:
    """One of them. It exists once it has logged in."""

    def __init__(self, stage: Stage, person: Person, name: str) -> None:
        self.person = person
        self._stage = stage
        self._name = name
        self._account: LoggedIn | None = None
        self._linked_ms = 0
        """0 also where it can read all that was before"""
        self._profile = stage.profile(f"{person}-{name}")
        self._program = Program(stage, str(self), self._profile)

    def __str__(self) -> str:
        return f"{self.person}'s {self._name}"

    # --- on and off, here and there -------------------------------------------------------

    async def logs_in(self) -> None:
        """Become a device of the account, which is made with the first one, turn on, and be linked."""
        self._note("logs in")
        self._program.home = self._stage.home()
        handle, name = self.person.handle, self._name
        is_first = all(device._account is None for device in self.person.devices)
        if is_first:
            new = NewAccount(handle, PASSWORD, name)
            self._account = await self._has_done(lambda node: node.accounts.register(new))
        else:
            known = Credentials(handle, PASSWORD, name)
            self._account = await self._has_done(lambda node: node.accounts.login(known))
        with self._profile.create():
            save(self._profile, Server.at("http://memory"), self._account, sealed=self.person.sealed)
        await self._program.start()
        if not self.person.sealed:
            return
        if is_first:
            await self._program.published()
        else:
            (_, other, *_) = sorted(self.person.devices, key=lambda one: (one is not self, not one.is_on))
            await self._program.linked_by(other._program)
            self._linked_ms = self._stage.clock.wall_ms()

    async def turns_on(self) -> None:
        """Start the program."""
        self._note("is turned on")
        await self._program.start()

    async def turns_off(self) -> None:
        """End the program; its data stays."""
        self._note("is turned off")
        await self._program.stop()

    def loses_its_connection(self) -> None:
        """There is no network here."""
        self._note("loses its connection")
        self._program.is_reachable.clear()
        self._program.tear()

    def comes_back(self) -> None:
        """There is a network again."""
        self._note("is back")
        self._program.is_reachable.set()

    def moves(self) -> None:
        """Go on at another node, if there is one; else only connect again."""
        self._note("moves to another node")
        self._program.move()

    def hears_nothing_any_more(self) -> None:
        """What the server answers gets lost, until the next connection."""
        self._note("hears nothing any more")
        self._program.go_deaf()

    @property
    def node(self) -> Node:
        """The node that it is on, or was on last."""
        return self._program.node

    # --- writing --------------------------------------------------------------------------

    async def sends(self, to: To, text: str, *, vanishes_after_s: float | None = None) -> None:
        """Write a message; the server has it when this returns."""
        self._note(f"sends {to}: {text}")
        await self._program.me.send(to.handle, text, expires_in_s=vanishes_after_s)

    def writes(self, to: To, text: str) -> None:
        """Write a message; it goes out when it can."""
        self._note(f"writes to {to}: {text}")
        self._stage.later(self._program.me.send(to.handle, text))

    async def replies(self, to: str, text: str) -> None:
        """Answer the message of this text."""
        message = await self._message(to)
        self._note(f"replies to “{to}”: {text}")
        await self._program.me.send(message.peer, text, reply_to=message)

    async def edits(self, text: str, new: str) -> None:
        """Change the message of this text."""
        self._note(f"changes “{text}” into “{new}”")
        await self._program.me.messages.edit(await self._message(text), new)

    async def deletes(self, text: str) -> None:
        """Delete the message of this text for everyone."""
        self._note(f"deletes “{text}”")
        await self._program.me.messages.delete(await self._message(text))

    async def reacts(self, text: str, reaction: str) -> None:
        """Say something short about the message of this text; empty takes it back."""
        self._note(f"reacts to “{text}”: {reaction}")
        await self._program.me.messages.react(await self._message(text), reaction)

    async def forwards(self, text: str, to: To) -> None:
        """Send the message of this text to somebody else."""
        self._note(f"forwards “{text}” to {to}")
        await self._program.me.messages.forward(await self._message(text), to.handle)

    async def hides(self, text: str) -> None:
        """Delete the message of this text for oneself."""
        self._note(f"hides “{text}”")
        await self._program.me.messages.hide(await self._message(text))

    async def reads(self, peer: To) -> None:
        """Look at all that came from somebody."""
        self._note(f"reads what {peer} wrote")
        await self._program.me.mark_read(peer.handle)

    async def types(self, to: To) -> None:
        """Begin to write."""
        self._note(f"types to {to}")
        await self._program.me.chats.typing(to.handle)

    # --- groups ---------------------------------------------------------------------------

    async def founds(self, name: str, *people: Person, rules: Rules | None = None) -> Group:
        """Make a group of these."""
        self._note(f"founds {name} with {', '.join(map(str, people)) or 'nobody'}")
        made = await self._program.me.groups.create(name, _handles(people), rules=rules)
        return Group(made.peer, name)

    async def founds_a_channel(self, name: str, *people: Person) -> Group:
        """Make a channel of these."""
        self._note(f"founds the channel {name}")
        made = await self._program.me.groups.create(name, _handles(people), channel=True)
        return Group(made.peer, name)

    async def removes(self, group: Group, *people: Person) -> None:
        """Remove these from a group."""
        self._note(f"removes {', '.join(map(str, people))} from {group}")
        await self._program.me.groups.remove(group.peer, _handles(people))

    async def leaves(self, group: Group) -> None:
        """Be in a group no more."""
        self._note(f"leaves {group}")
        await self._program.me.groups.leave(group.peer)

    async def promotes(self, group: Group, *people: Person) -> None:
        """Make these admins."""
        self._note(f"makes {', '.join(map(str, people))} admins of {group}")
        await self._program.me.groups.promote(group.peer, _handles(people))

    async def hands_over(self, group: Group, to: Person) -> None:
        """Make somebody the owner."""
        self._note(f"hands {group} over to {to}")
        await self._program.me.groups.transfer(group.peer, to.handle)

    async def renames(self, group: Group, name: str) -> None:
        """Give a group another name."""
        self._note(f"calls {group} {name}")
        await self._program.me.groups.rename(group.peer, name)

    async def rules(self, group: Group, *, write: GroupRole) -> None:
        """Say who may write."""
        self._note(f"lets every {write.name} write in {group}")
        await self._program.me.groups.set_rules(group.peer, write=write)

    async def links(self, group: Group) -> str:
        """Make an invite link."""
        self._note(f"makes a link to {group}")
        return await self._program.me.groups.link(group.peer)

    async def joins(self, link: str) -> bool:
        """Go by an invite link; whether one is in with that."""
        self._note("joins by a link")
        return await self._program.me.groups.join(link) is not None

    async def sees_waiting(self, group: Group, *people: Person) -> None:
        """These want to join."""

        def waiting() -> list[str]:
            there = [one for one in self._program.state.groups if one.peer == group.peer]
            return sorted(there[0].waiting) if there else []

        await self._sees("sees waiting", sorted(_handles(people)), waiting)

    async def pins_for_all(self, text: str) -> None:
        """Pin the message of this text for everyone."""
        self._note(f"pins “{text}” for all")
        await self._program.me.groups.pin(await self._message(text))

    async def asks(self, to: To, question: str, *options: str, multiple: bool = False) -> None:
        """Make a poll."""
        self._note(f"asks {to}: {question}")
        await self._program.me.messages.poll(to.handle, question, options, multiple=multiple)

    async def votes(self, question: str, *options: str) -> None:
        """Choose in a poll; nothing takes it back."""
        self._note(f"votes {', '.join(options) or 'for nothing'}: {question}")
        poll = await self._message(question)
        assert poll.poll is not None
        await self._program.me.messages.vote(poll, [poll.poll.options.index(one) for one in options])

    async def sees_members(self, group: Group, *people: Person) -> None:
        """These are in a group, and nobody else."""
        wanted, found = sorted(_handles(people)), ["?"]
        async with self._stage.patience(lambda: _instead(f"{self} sees members", wanted, found)):
            while found != wanted:
                await self._stage.moment()
                found = sorted(one.handle for one in await self._program.me.groups.members(group.peer))
        self._note(f"sees {', '.join(wanted)} in {group}")

    # --- people, chats, the account -------------------------------------------------------

    async def adds(self, *people: Person, to: Group | None = None) -> None:
        """Put these into a group or, without one, into the contacts."""
        self._note(f"adds {', '.join(map(str, people))}{f' to {to}' if to else ''}")
        if to is not None:
            await self._program.me.groups.add(to.peer, _handles(people))
            return
        for person in people:
            await self._program.me.people.add(person.handle)

    async def accepts(self, peer: Person) -> None:
        """Let somebody in who has written."""
        self._note(f"accepts {peer}")
        await self._program.me.people.accept(peer.handle)

    async def declines(self, peer: Person) -> None:
        """Turn somebody away who has written."""
        self._note(f"declines {peer}")
        await self._program.me.people.decline(peer.handle)

    async def blocks(self, peer: Person) -> None:
        """Get nothing more from somebody."""
        self._note(f"blocks {peer}")
        await self._program.me.people.block(peer.handle)

    async def unblocks(self, peer: Person) -> None:
        """Lift a block."""
        self._note(f"unblocks {peer}")
        await self._program.me.people.unblock(peer.handle)

    async def pins(self, peer: To) -> None:
        """Keep a chat at the top."""
        self._note(f"pins the chat with {peer}")
        await self._program.me.chats.pin(peer.handle)

    async def mutes(self, peer: To) -> None:
        """Be disturbed by a chat no more."""
        self._note(f"mutes the chat with {peer}")
        await self._program.me.chats.mute(peer.handle)

    async def unmutes(self, peer: To) -> None:
        """Be disturbed by it again."""
        self._note(f"unmutes the chat with {peer}")
        await self._program.me.chats.unmute(peer.handle)

    async def drafts(self, peer: To, text: str) -> None:
        """Begin a message, and leave it."""
        self._note(f"drafts to {peer}: {text}")
        await self._program.me.chats.draft(peer.handle, text)

    async def names_its_owner(self, name: str, about: str = "") -> None:
        """Say who one is. (Over HTTP, which is passed by here.)"""
        self._note(f"says that its owner is {name}, “{about}”")
        await self._has_done(lambda node: node.people.set_profile(self._ids[0], name, about))

    async def shows_a_picture(self, picture: bytes) -> None:
        """Show a picture of oneself. (Over HTTP, which is passed by here.)"""
        self._note("shows a picture of its owner")
        await self._has_done(lambda node: node.people.set_picture(self._ids[0], None, picture))

    async def signs_out(self, device: "Device") -> None:
        """End another device of the account. (Over HTTP, which is passed by here.)"""
        self._note(f"signs {device} out")
        await self._has_done(lambda node: node.account_rules.devices.revoke(*device._ids))

    async def watches(self, *people: Person) -> None:
        """Have these on the screen, and want to know whether they are there."""
        self._note(f"watches {', '.join(map(str, people))}")
        for one in await self._program.me.presence.watch([person.handle for person in people]):
            self._program.online[one.handle] = one.online

    # --- what is to be seen ---------------------------------------------------------------

    async def shows(self, peer: To, *lines: str) -> None:
        """The chat with somebody is these lines, and no other; see `screen`."""
        await self._sees("shows", lines, lambda: self._chat(peer))

    async def shows_so_many(self, peer: To, count: int) -> list[str]:
        """The chat with somebody has so many lines; returns them, without ticks."""
        await self._program.until(
            lambda: len(self._chat(peer)) == count,
            lambda: _instead(f"{self} shows", [f"{count} lines"], self._chat(peer)),
        )
        return self._chat(peer, ticks=False)

    async def lists(self, *chats: str) -> None:
        """The list of chats is these lines; see `screen`."""
        await self._sees("lists", chats, lambda: [chat_line(chat) for chat in self._program.state.chats])

    async def is_asked_by(self, *people: Person) -> None:
        """These strangers want to talk, and nobody else."""
        wanted = [person.handle for person in people]
        await self._sees("is asked by", wanted, lambda: [one.peer for one in self._program.state.requests])

    async def sees_typing(self, peer: Person) -> None:
        """Somebody is writing."""
        typing = self._program.typing
        await self._program.until(lambda: typing.get(peer.handle), lambda: f"{self} sees nobody typing")
        self._note(f"sees {peer} typing")

    async def sees_online(self, peer: Person, *, online: bool = True) -> None:
        """Somebody is there, or away."""
        how, there = "online" if online else "away", self._program.online
        await self._program.until(
            lambda: there.get(peer.handle) == online, lambda: f"{self} does not see {peer} {how}"
        )
        self._note(f"sees {peer} {how}")

    async def is_signed_out(self) -> None:
        """The server knows this device no more."""
        await self._program.until(lambda: self.is_ended, lambda: f"{self} is not signed out", is_end=True)
        self._note("is signed out")

    async def finds_in_history(self, peer: To, *lines: str) -> None:
        """What the server has of the chat with somebody: right now and, where ticks are late, soon."""
        found: list[Message] = []
        wanted = [line.partition(" ✓")[0] for line in lines]

        def instead() -> str:
            return _instead(f"{self} finds in the history", lines, chat_lines(found))

        async with self._stage.patience(instead):
            while chat_lines(found := await self._program.me.history(peer.handle)) != list(lines):
                assert chat_lines(found, ticks=False) == wanted, instead()
                await self._stage.moment()

    async def knows(self, peer: Person, name: str, about: str, picture: bytes) -> None:
        """Somebody's name, text and picture, as they are shown to this device's owner right now."""
        found = await self._program.me.people.find(peer.handle)
        assert (found.name, found.about) == (name, about)
        shown = await self._has_done(lambda node: node.people.picture(self._ids[0], found.user_id))
        assert shown is not None
        assert shown[1] == picture

    # --- for the scene --------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether its program runs."""
        return self._program.is_on

    @property
    def is_ended(self) -> bool:
        """Whether the server wants to hear of it no more."""
        return self._program.ended is not None

    @property
    def told_twice(self) -> list[str]:
        """The messages that its program was told more than once."""
        return [message for message, count in self._program.told.items() if count > 1]

    async def is_fresh(self) -> bool:
        """Whether it shows what it would show after a restart."""
        return await self._program.is_fresh()

    def disagreement(self, other: "Device") -> str:
        """Where two have the same messages in another order, or show one owner other things; in words."""
        here, there = self._order(), other._order()
        if [one for one in here if one in there] != [one for one in there if one in here]:
            return f"{self} and {other} disagree about the order"
        if self.person is other.person:
            hers, his = self._all_shown(other), other._all_shown(self)
            if hers != his:
                return f"{self} and {other} disagree:\n{hers}\n{his}"
        return ""

    async def stop(self) -> None:
        """End its program."""
        await self._program.stop()

    # --- inside ---------------------------------------------------------------------------

    async def _has_done(self, ask: Callable[[Services], Awaitable[T]]) -> T:
        """Have a node do what is asked for over HTTP, again where it says to come back."""
        while True:
            node = await self._program.a_node()
            try:
                return await ask(node.services)
            except ProtocolError as error:
                if error.retry_after_s is None:
                    raise
                await self._stage.clock.sleep(error.retry_after_s)

    async def _sees(self, verb: str, wanted: Sequence[str], shown: Callable[[], list[str]]) -> None:
        await self._program.until(
            lambda: shown() == list(wanted), lambda: _instead(f"{self} {verb}", wanted, shown())
        )
        self._note(f"{verb} {wanted[-1] if wanted else 'nothing'}")

    def _chat(self, peer: To, *, ticks: bool = True) -> list[str]:
        return chat_lines(self._program.state.messages(peer.handle), ticks=ticks)

    async def _message(self, text: str) -> Message:
        def found() -> list[Message]:
            state = self._program.state
            return [one for chat in state.chats for one in state.messages(chat.peer) if one.text == text]

        await self._program.until(found, lambda: f"{self} shows no message “{text}”")
        (message,) = found()
        return message

    def _order(self) -> list[object]:
        state = self._program.state
        return [one.reference for chat in state.chats for one in state.messages(chat.peer)]

    def _all_shown(self, other: "Device") -> list[object]:
        """What two devices of one user agree on.

        A message that one of them never had may be deleted, or be from before it was linked.
        """
        state = self._program.state
        since_ms = max(self._linked_ms, other._linked_ms)
        chats: list[object] = []
        for chat in state.chats:
            readable = self._readable(chat.peer)
            both = {one.reference for one in readable} & {one.reference for one in other._readable(chat.peer)}
            shown = [one for one in readable if one.reference in both or one.created_at > since_ms]
            if shown:
                is_whole = len(both) == len(readable) == len(other._readable(chat.peer))
                chats.append((chat_line(chat) if is_whole else chat.peer, chat_lines(shown)))
        return [*chats, *state.requests, *sorted(state.settings.items())]

    def _readable(self, peer: str) -> list[Message]:
        return [one for one in self._program.state.messages(peer) if not (one.deleted or one.fault)]

    @property
    def _ids(self) -> tuple[UserId, DeviceId]:
        assert self._account is not None, f"{self} has never logged in"
        return self._account.ids()

    def _note(self, happened: str) -> None:
        self._stage.note(f"  {self} {happened}")


def _handles(people: Sequence[Person]) -> list[str]:
    return [person.handle for person in people]


def _instead(who: str, wanted: Sequence[str], shown: Sequence[str]) -> str:
    return "\n    ".join((f"{who} not", *wanted)) + "\n    ".join(("\nbut", *shown))
