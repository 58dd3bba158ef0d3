"""The hub: one process that owns store, bus and directory and serves them to the nodes of a machine."""
