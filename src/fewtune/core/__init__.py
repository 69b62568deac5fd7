"""What every other part speaks: tasks, towers, heads, strategies, specs."""
