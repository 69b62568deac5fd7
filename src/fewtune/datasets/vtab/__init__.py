"""The 19 tasks of VTAB-1k: each module of this package declares one as `DATASET`."""
