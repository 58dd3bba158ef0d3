"""A simulation of people, devices and nodes in one thread and in virtual time: a seed replays a run."""
