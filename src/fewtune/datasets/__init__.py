"""Benchmark data sets, a declaration each, and the user's own folder."""
