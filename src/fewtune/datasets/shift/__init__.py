"""Test sets with the classes of ImageNet: each module of this package declares one as `DATASET`."""
