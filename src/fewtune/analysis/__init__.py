"""Analysis of what tuning does inside the model: where, how far, and to which features."""
