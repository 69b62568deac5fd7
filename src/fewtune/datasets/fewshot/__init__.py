"""The 11 few-shot datasets of CoOp: each module of this package declares one as `DATASET`.

Class names are those of CoOp's split files, in the order of their labels.
"""
