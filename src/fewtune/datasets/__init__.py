"""Benchmark datasets: one declaration per dataset, readers of their files, downloads."""
