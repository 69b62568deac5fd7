"""Your own images: any path on disk is a dataset.

    DIR/CLASS/IMAGE                               class folders
    DIR/{train,val,test}/CLASS/IMAGE              split folders
    labels.csv, labels.tsv, labels.jsonl          columns path and label, and split if you like
    DIR/metadata.csv, DIR/train/metadata.csv      Hugging Face imagefolder (or metadata.jsonl)
    DIR/split_NAME.json                           split file in CoOp's format
    DIR/{train800,val200,...,test}.txt            VTAB-1k list folder

Class names are folder names or labels, with "_" read as a space in prompts. Where there is no test
split, a fifth of each class is set aside as one.
"""

from __future__ import annotations

from fewtune.data.layouts import open_task as load

__all__ = ["load"]
