"""A gateway in a process of its own that may open few files. Run by `test_descriptors`."""

import resource
import sys
import time

import uvloop

from server.rig import Echo, application
from tidings.protocol.limits import Limits
from tidings.server.gateway import Gateway, listen


class Clerk(Echo):
    """Says how much CPU the process has used."""

    def receive(self, data: bytes) -> None:
        self.link.send(b"%d" % (time.process_time() * 1e6) if data == b"cpu" else data)


async def main(files: int, reserved: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    limits = Limits(reserved_files=reserved)
    gateway = Gateway(limits=limits, open_session=Clerk)
    sock = listen("127.0.0.1", 0, limits)
    print(sock.getsockname()[1], flush=True)
    await gateway.server(application).serve(sockets=[sock])


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
