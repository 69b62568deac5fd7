"""Readers of benchmark datasets: a module a form on disk."""
