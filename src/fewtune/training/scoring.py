"""Scores of a head on a list of examples, and the metrics of scores."""

import math

import torch
from torch import Tensor

from fewtune.core.errors import RunError
from fewtune.core.spec import Precision
from fewtune.core.task import ClassSet
from fewtune.model.head import Head, score
from fewtune.model.towers import Activations
from fewtune.training.cut import find_cuts, prompts_at
from fewtune.training.device import autocast
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader

EVALUATION_BATCH = 64
# Shares in [0, 1] by name; None where the images cannot tell.
Metrics = dict[str, float | None]


def encode_classes(head: Head, classes: ClassSet, precision: Precision) -> Activations | None:
    """Return all class prompts (P, D), encoded once for many images; None for a linear head.

    Those of a conditional head are (P, ...), as they enter the text tower at its cut.
    """
    if head.classifier == "linear":
        return None
    cut = find_cuts(head, classes).text if head.conditional else None
    with torch.inference_mode(), autocast(head.model.device, precision):
        if cut is not None:
            return prompts_at(head, classes, cut)
        return head.model.encode_frozen(head.prompts(classes))


def scores(
    head: Head,
    classes: ClassSet,
    images: ImageLoader | FeatureCache,
    precision: Precision,
    text: Activations | None = None,
) -> Tensor:
    """Return the logits (N, C) of the examples in fp32 on the CPU, test transform, dropout off.

    Args:
        text: The encoded class prompts (P, D), where the caller has them.

    Raises:
        RunError: A score is NaN or infinite.
    """
    model = head.model
    inputs = FeatureCache(model, images) if isinstance(images, ImageLoader) else images
    parts = []
    with model.merged(), torch.inference_mode(), autocast(model.device, precision):
        if text is None:
            text = encode_classes(head, classes, precision)
        for batch in inputs.batches():
            parts.append(score(head, batch, text).logits.float().cpu())
    logits = torch.cat(parts) if parts else torch.empty(0, len(classes))
    require_finite(logits)
    return logits


def require_finite(logits: Tensor) -> None:
    """Refuse scores (N, C) that are no numbers.

    Raises:
        RunError: A score is NaN or infinite.
    """
    if not bool(logits.isfinite().all()):
        raise RunError(
            "The classifier's scores are not finite numbers: its training diverged.",
            hint="Train with a lower learning rate (--lr).",
        )


def metrics(logits: Tensor, labels: Tensor) -> Metrics:
    """Return top-1, top-5, macro recall (mean per class), precision, F1 and calibration error.

    All are shares in [0, 1] of logits (N, C) and labels (N,). Classes without test images do not
    enter the macro averages; one that is never predicted enters precision with 0, as in
    scikit-learn. Where all images are of one class, precision and F1 are None: no image of another
    class could be taken for it.
    """
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_f1_score,
        multiclass_precision,
        multiclass_recall,
    )

    count = logits.shape[1]
    present = torch.bincount(labels, minlength=count) > 0
    of_class = {
        "recall": multiclass_recall(logits, labels, count, average="none"),
        "precision": multiclass_precision(logits, labels, count, average="none"),
        "f1": multiclass_f1_score(logits, labels, count, average="none"),
    }
    means: Metrics = {name: float(of[present].mean()) for name, of in of_class.items()}
    if int(present.sum()) < 2:
        means |= {"precision": None, "f1": None}
    return {
        "top1": float(multiclass_accuracy(logits, labels, count, average="micro")),
        "top5": float(
            multiclass_accuracy(logits, labels, count, average="micro", top_k=min(5, count))
        ),
        **means,
        "calibration_error": calibration_error(logits, labels),
    }


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Return the expected calibration error of logits (N, C) over 15 bins of confidence.

    Guo et al., 2017; bin k is ((k - 1) / 15, k / 15]. Not torchmetrics': there, a confidence of
    exactly 1 has a bin of its own.
    """
    bins = 15
    confidence, predicted = logits.double().softmax(1).max(1)
    excess = confidence - (predicted == labels).double()
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    sums = torch.zeros(bins, dtype=torch.double).index_add(0, index, excess)
    return float(sums.abs().sum() / len(labels))


def per_class_recall(logits: Tensor, labels: Tensor) -> list[float | None]:
    """Return the share of each class' images that are recognised; None without images.

    Logits are (N, C), labels (N,).
    """
    count = logits.shape[1]
    hits = labels[logits.argmax(1) == labels]
    seen, right = (torch.bincount(of, minlength=count) for of in (labels, hits))
    shares = (right.float() / seen).tolist()
    return [share if math.isfinite(share) else None for share in shares]
