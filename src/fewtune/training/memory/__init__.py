"""What a run takes, and the pieces in which it fits into memory."""
