"""Flatness and weakness of neural networks, measured exactly: the package behind the book *Flat or Weak?*."""

__version__ = "0.1.0"
