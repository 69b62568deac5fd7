"""Several runs in one program: stacked tensors, one step for all."""
