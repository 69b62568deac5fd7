"""Readers of benchmark datasets: one module per form on disk."""
