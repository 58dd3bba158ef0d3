"""What goes over the hub's socket: msgspec structs in MessagePack, framed by `tidings.hub.framing`.

A node's first frame is a `Hello`, the hub's a `Greeting` (or a `Refusal`, and then the end). From
then on each frame of a node holds all the requests that one turn of its event loop made, in their
order, and each frame of the hub all that it has to say to this node (`News`). A request has a number, and
one item of the hub's answers it.

Rows go as bytes, as `tidings.store.encoded` makes them: the hub passes them on and reads none.
"""

from enum import IntEnum

import msgspec

from tidings.directory.contract import Entered, Place
from tidings.protocol.ids import UserId
from tidings.store.encoded import AnyKey, Part, TableNumber

VERSION = 2
"""of all this; hub and nodes are of one version of the program"""
LINK_ID_BYTES = 8
INCARNATION_BYTES = 8


class Hello(msgspec.Struct, array_like=True, tag=0):
    """Who connects."""

    version: int
    link: bytes
    """drawn once by a link: its earlier connection ends before anything of this one is done"""
    tables: list[str]
    """the names of the tables that requests number"""


class Greeting(msgspec.Struct, array_like=True, tag=0):
    """The hub takes requests from now on."""

    incarnation: bytes
    """drawn by each hub process: where it is another one, bus and directory are new"""


class Refusal(msgspec.Struct, array_like=True, tag=1):
    """The hub does not serve whoever said Hello."""

    reason: str


class Request(msgspec.Struct, array_like=True, gc=False):
    """What a node asks for."""

    number: int
    """greater than those before it"""


# --- of a store -----------------------------------------------------------------------------


class Write(Request, tag=0):
    """See `Store.write`. Done answers it."""

    parts: list[Part]


class Get(Request, tag=1):
    """See `Store.get_many`. Values answer it."""

    table: TableNumber
    keys: list[AnyKey]


class Range(Request, tag=2):
    """See `Store.range`. Values answer it."""

    table: TableNumber
    partition: AnyKey
    after: AnyKey | None
    before: AnyKey | None
    limit: int
    backwards: bool


class Scan(Request, tag=3):
    """See `Store.scan`. Values answer it."""

    table: TableNumber
    after: AnyKey | None
    limit: int


class Compare(Request, tag=4):
    """See `Store.compare_and_set`. One value (or None) answers it."""

    table: TableNumber
    expected: bytes | None
    row: bytes
    also: list[bytes] = []


class Expire(Request, tag=5):
    """See `Store.expire`. A Count answers it."""

    now_ms: int


class Checkpoint(Request, tag=6):
    """See `Store.checkpoint`. Done answers it."""

    path: str
    """absolute"""


# --- of a bus -------------------------------------------------------------------------------


class Subscribe(Request, tag=7):
    """See `Bus.subscribe`. Done answers it."""

    topics: list[str]


class Unsubscribe(Request, tag=8):
    """See `Bus.unsubscribe`. Done answers it."""

    topics: list[str]


class Publish(msgspec.Struct, array_like=True, gc=False, tag=9):
    """See `Bus.publish`. Nothing answers it."""

    topic: str
    data: bytes


# --- of a directory -------------------------------------------------------------------------


class Enter(Request, tag=10):
    """See `Directory.enter`. Entries answer it."""

    places: list[Place]


class Leave(Request, tag=11):
    """See `Directory.leave`. Done answers it."""

    places: list[Place]


class LookUp(Request, tag=12):
    """See `Directory.look_up`. Located answers it."""

    users: list[UserId]


class Echo(Request, tag=13):
    """Done answers it, and its frame tells the time."""


# --- of the hub itself ----------------------------------------------------------------------


class ListWorkers(Request, tag=14):
    """Workers answer it."""


class Pong(msgspec.Struct, array_like=True, gc=False, tag=15):
    """This node's event loop runs."""


Said = (
    Write
    | Get
    | Range
    | Scan
    | Compare
    | Expire
    | Checkpoint
    | Subscribe
    | Unsubscribe
    | Publish
    | Enter
    | Leave
    | LookUp
    | Echo
    | ListWorkers
    | Pong
)
"""What a node says."""


# --- what the hub says ----------------------------------------------------------------------


class Done(msgspec.Struct, array_like=True, gc=False, tag=0):
    """These requests were carried out."""

    numbers: list[int]


class Values(msgspec.Struct, array_like=True, gc=False, tag=1):
    """Rows, as they are stored."""

    number: int
    values: list[bytes | None]


class Count(msgspec.Struct, array_like=True, gc=False, tag=2):
    """How many."""

    number: int
    count: int


class Entries(msgspec.Struct, array_like=True, gc=False, tag=3):
    """What became of places."""

    number: int
    entered: list[Entered]


class Located(msgspec.Struct, array_like=True, gc=False, tag=4):
    """Places of users."""

    number: int
    places: list[list[Place]]


class Fault(IntEnum):
    """Of which kind a failure is: see `tidings.hub.faults`."""

    BUG = 0
    FULL = 1
    UNAVAILABLE = 2
    UNKNOWN = 3
    DAMAGED = 4
    OS = 5


class Failed(msgspec.Struct, array_like=True, gc=False, tag=5):
    """A request was not carried out, or nobody knows."""

    number: int
    fault: Fault
    text: str
    errno: int = 0
    """of a fault of the operating system"""


class Worker(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A process that is connected to the hub."""

    pid: int
    silent_s: float
    """for how long it has answered no ping, while the hub itself was running"""


class Workers(msgspec.Struct, array_like=True, gc=False, tag=6):
    """Who is connected."""

    number: int
    workers: list[Worker]


class Published(msgspec.Struct, array_like=True, gc=False, tag=7):
    """A publication to a topic that the node is subscribed to."""

    topic: str
    data: bytes


class Ping(msgspec.Struct, array_like=True, gc=False, tag=8):
    """Answer with a Pong."""


Answer = Values | Count | Entries | Located | Failed | Workers
"""What answers one request."""
Item = Done | Answer | Published | Ping


class News(msgspec.Struct, array_like=True, gc=False):
    """What the hub has to say to a node, and its clocks when it said it."""

    wall_ns: int
    machine_ns: int
    items: list[Item]
