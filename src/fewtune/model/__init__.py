"""CLIP as towers of stages, and what a strategy changes and adds."""
