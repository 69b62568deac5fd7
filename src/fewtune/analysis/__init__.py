"""What tuning does inside the model: where, how far, in which direction, and to which features."""
