"""Vmapped runs: several runs in one process, one step for all."""
