"""The simulation with encryption on: real clients of the SDK, on real profiles, on the simulated cluster."""
