"""Benchmarks with a baseline beside them.

Run one with `python -m benchmarks.NAME [--quick] --json`.
The last line printed is one JSON object of ratios and errors. None is a timed test.
"""
