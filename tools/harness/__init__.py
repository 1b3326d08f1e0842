"""What srnas must survive: kills, mutated files, and what the operating system refuses.

    python -m tools.harness.kill --kills 100
    python -m tools.harness.fuzz --scale 1
    sudo python -m tools.harness.faults        # mounts small and read-only file systems

Each prints a line for every failure and a table of counts at its end, and exits with 1 after a
failure. The tests run short versions; docs/reliability.md has the counts of long ones.
"""
