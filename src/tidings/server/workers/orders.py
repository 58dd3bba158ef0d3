"""What the supervisor and its processes say to each other, over a socket that only they have.

```
 supervisor --Start, Stop, Renew, Tune, Ask-----------> hub, workers
 supervisor <--Beat, Ready, Failed, Answer, Last------- hub, workers
```

Either side takes the end of the other's stream for its end. Nothing here survives an upgrade: all
processes of a service are of one version.
"""

import msgspec

from tidings.server.config import Config

MESSAGE_BYTES = 16 << 20
"""largest message; an answer with a thousand users has 0.3 MB"""

BEAT_S = 1.0
"""how often a process that serves says that its event loop turns"""


class Order(msgspec.Struct, tag=True, array_like=True, gc=False):
    """What either side says."""


class Start(Order):
    """The first order: who you are, and what there is."""

    name: str
    """of this process in the log and the metrics"""
    version: str
    """of the supervisor: an installation that was replaced meanwhile does not fit any more"""
    config: Config
    hub: str
    """path of the hub's socket"""


class Stop(Order):
    """Finish what was accepted, then end. A worker tells its clients when to come back."""


class Renew(Order):
    """Read the certificate again."""


class Tune(Order):
    """Change a limit, which has been checked already. Not answered."""

    name: str
    value: object


class Ask(Order):
    """A request of the operator, to be answered by `Answer` with the same number."""

    number: int
    method: str
    path: str
    """percent-encoded, as it came"""
    query: bytes
    body: bytes


class Beat(Order):
    """The event loop turns."""


class Ready(Order):
    """It serves."""


class Failed(Order):
    """It cannot start, or go on, and says why in words; it ends now."""

    kind: str
    """the name of the exception, see `failures.py`"""
    message: str


class Answer(Order):
    """What became of `Ask`."""

    number: int
    status: int
    """of HTTP"""
    media_type: str
    body: bytes


class Last(Order):
    """The last metrics of a process that ends by order."""

    metrics: bytes


Down = Start | Stop | Renew | Tune | Ask
Up = Beat | Ready | Failed | Answer | Last

ENCODER = msgspec.msgpack.Encoder()
DOWN = msgspec.msgpack.Decoder(Down)
UP = msgspec.msgpack.Decoder(Up)
