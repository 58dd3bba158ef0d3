"""How a group's messages reach its members.

| | a message is written to | a device gets it |
|---|---|---|
| WRITE | the log, and a copy to each member's inbox | from the inbox |
| BOTH | both | from either, and drops the second one |
| READ | the log alone | from the log, after its own cursor in this group |

DESIGN's hybrid: copies are cheap to read and dear to write, so small groups get them. A group goes from one
way to the other through BOTH, which lasts longer than any node trusts what it has read: so whoever writes by
what was before is heard by all who read by what comes after.
"""

from enum import IntEnum


class Fanout(IntEnum):
    """See the module's text."""

    WRITE = 0
    BOTH = 1
    READ = 2
    TO_WRITE = 3
    """BOTH, on the way back to WRITE"""

    @property
    def writes_copies(self) -> bool:
        """Whether inboxes get the message."""
        return self != Fanout.READ

    @property
    def is_read(self) -> bool:
        """Whether devices look into the log."""
        return self != Fanout.WRITE
