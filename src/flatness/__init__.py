"""Flatness and weakness of neural networks, measured exactly."""

__version__ = "0.2.0"
