"""Latency: of networks in the runtimes of their exports, and of candidates at their positions."""

from srnas.latency.clock import Timing, time_alternately
from srnas.latency.runtime import RUNTIMES, Opened, open_network, peak_memory

__all__ = ["RUNTIMES", "Opened", "Timing", "open_network", "peak_memory", "time_alternately"]
