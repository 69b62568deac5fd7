"""Memory: what a run takes, and the plan with which it fits."""
