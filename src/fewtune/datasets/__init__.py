"""Benchmark datasets, a declaration each, and the user's own folder."""
