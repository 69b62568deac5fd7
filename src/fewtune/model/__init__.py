"""CLIP as two towers of stages, and what a strategy changes in them and adds to them."""
