"""Tidings: a self-hosted chat server that never loses an acknowledged message."""

from importlib.metadata import version

__version__ = version("tidings")
