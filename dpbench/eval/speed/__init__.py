"""Speed as a science: ladders of sizes, families of structures, processes in rounds.

``measuring.measure_ladders`` is the one engine below ``dpbench bench throughput`` and
the task ``md_throughput``.
"""
