"""Benchmarks: a server process of their own, load from this one, figures from /proc.

Each measures one row of the budgets (see docs/reference/performance.md for method and results).
"""
