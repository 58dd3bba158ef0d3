"""Several processes, one service: a supervisor, a hub that owns the store, and nodes that share the port."""
