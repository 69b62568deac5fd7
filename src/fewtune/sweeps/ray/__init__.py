"""Sweeps on Ray: what runs where, and what a worker does."""
