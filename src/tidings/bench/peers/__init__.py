"""`make bench-peers`: other servers on the same workloads, in one run on one machine.

What is compared is server CPU and memory, of all processes that a server needs (its database too).
Every contestant is started for one workload, on the loopback interface and in a folder that is thrown
away, and ended by its process id. It is no part of `make test`; `scripts/peers` brings the servers.
"""
