"""Changes the key of a profile over and over, each time killed one step later than before.

`python mortal_rekeying.py PROFILE` works on copies of the profile, `PROFILE-1`, `PROFILE-2`, …; the last one
is that in which it came to its end. One that is not encrypted is; of another the key goes into a file
elsewhere. Prints how many there are.
"""

import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tidings.client import keeping, rekeying
from tidings.client.keeping import KeyFile
from tidings.client.profile import Profile

DEEDS = {"open", "write", "flush", "fsync", "close", "replace", "unlink", "connect", "execute", "fetchone"}
"""what reaches the disk, or SQLite"""


class Death:
    """Comes instead of the nth call that reaches the disk or SQLite."""

    def __init__(self, left: int) -> None:
        self._left = left

    def profile(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in DEEDS:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def change(path: Path) -> None:
    """Give the profile another key, here and in no other thread, where Death does not see it."""
    mine = Profile(path)
    account = mine.account()
    if account.key is None:
        rekeying.rekey(mine, account, None, keeping.IN_FOLDER, os.urandom)
    else:
        key = keeping.key_of(account.key, path, str)
        rekeying.rekey(mine, account, key, KeyFile(path.with_suffix(".key")), os.urandom)


def main(original: Path) -> None:
    steps = 0
    while True:
        steps += 1
        copy = original.with_name(f"{original.name}-{steps}")
        shutil.copytree(original, copy)
        child = os.fork()
        if not child:
            sys.setprofile(Death(steps).profile)
            change(copy)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            print(steps)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
