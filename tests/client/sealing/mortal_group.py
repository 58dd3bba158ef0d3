"""As `mortal.py`, in a group: each message has a sender key of its own, which is handed out before it."""

import asyncio
import sys
from pathlib import Path

from client.sealing import mortal
from tidings.client.sealing import sender_keys

if __name__ == "__main__":
    sender_keys.RENEW_MESSAGES = 1
    asyncio.run(mortal.main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), before=sys.argv[4] == "before"))
