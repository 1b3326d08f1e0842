"""The version of srnas."""

__version__ = "0.2.0"
