"""Turning a strategy and a task into a tuned, evaluated, stored run."""
