"""Parts for tests: a fake clock, a node without sockets, and the people on it."""
