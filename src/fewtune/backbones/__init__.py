"""CLIP-like models, a family a file: where checkpoints are found and how they become towers."""
