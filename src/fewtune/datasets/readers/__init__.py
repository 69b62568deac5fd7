"""Readers of benchmark data sets: a module a form on disk."""
