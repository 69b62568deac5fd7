"""Final model of a run: trained on all images, so that none is left to measure it on.

The run that is made first says what the method is worth on images that it has not seen. The final
run keeps that number in its record, under the name of the run that it belongs to.
"""

from pathlib import Path

from fewtune.core.draws import DEFAULT_DRAW
from fewtune.core.errors import ConfigError
from fewtune.core.splits import final_task
from fewtune.training.job import Job, Result
from fewtune.training.prepare import Preparation
from fewtune.training.run import train
from fewtune.training.tracking import Tracker

# What the record of a final model holds of the records of the run that was measured.
KEPT = ("hash", "spec", "metrics", "cost")


def refuse_final(job: Job) -> None:
    """Refuse a final model that could not be made, or whose number would say nothing of it.

    Raises:
        ConfigError: The strategy trains nothing, test images are those of a benchmark, or the run
            is scored on validation images.
    """
    reason = ""
    if job.strategy.recipe is None:
        reason = f"{job.strategy.name()} trains nothing"
    elif job.task.benchmark:
        reason = f"{job.task.name} is a benchmark, whose test images are not trained on"
    elif job.config.score_on == "val":
        reason = "with --score-on val no test image enters the run"
    if reason:
        raise ConfigError(f"There is no final model: {reason}.", hint="Leave out --final.")


def train_final(job: Job, measured: Result, preparation: Preparation, tracker: Tracker) -> Path:
    """Train on all images of a job that was measured, and return the folder of the run.

    Validation images are trained on too, unless the strategy chooses settings on them. Shots do not
    count. A final run that is complete already is returned as it is; an interrupted one continues.

    Raises:
        RunError: Training failed, or the folder cannot be written.
    """
    record, zero_shot = measured.record, measured.zero_shot
    apart = record["task"].get("validation_used", True)  # older records do not say it
    task = final_task(job.task, with_val=not apart)
    config = job.config.changed(shots=None, draw=DEFAULT_DRAW, classes="all", test_share=None)
    kept = {
        "folder": measured.folder.name,
        "images": record["task"]["images"],
        **{name: record[name] for name in KEPT},
        "zero_shot": {name: zero_shot[name] for name in KEPT},
    }
    return train(preparation.job(config, task, measured=kept), tracker)
