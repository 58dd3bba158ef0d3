"""The simulation of groups: people who come and go, and what befalls them meanwhile."""
