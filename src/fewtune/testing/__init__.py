"""Tests for plug-in authors: small models and tasks, and the contracts of plug-ins.

from fewtune.testing import check_strategy

def test_contract(tmp_path):
    check_strategy(MyStrategy, tmp_path)
"""

from fewtune.testing.contract import CHECKS, check_strategy
from fewtune.testing.dataset_contract import check_dataset
from fewtune.testing.tiny import tiny_clip, tiny_clip_folder, tiny_task

__all__ = [
    "CHECKS",
    "check_dataset",
    "check_strategy",
    "tiny_clip",
    "tiny_clip_folder",
    "tiny_task",
]
