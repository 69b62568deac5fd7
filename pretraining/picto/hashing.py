"""Near-duplicate search: a 16 x 16 average hash of each drawing, compared in bits."""

import numpy as np
from numpy.typing import NDArray

HASH_PX = 16
NEAR_BITS = 4


def average_hash(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bits (N, 256) of drawings (N, P, P), P a multiple of 16: is a cell above the mean."""
    count, px = mask.shape[0], mask.shape[-1]
    step = px // HASH_PX
    cells = mask.reshape(count, HASH_PX, step, HASH_PX, step).mean(axis=(2, 4), dtype=np.float32)
    cells = cells.reshape(count, -1)
    return np.asarray(cells > cells.mean(axis=1, keepdims=True))


def near_any(
    hashes: NDArray[np.bool_],
    references: NDArray[np.bool_],
    bits: int = NEAR_BITS,
    chunk: int = 8192,
) -> NDArray[np.bool_]:
    """Whether each of `hashes` (N, 256) is within `bits` of one of `references` (M, 256)."""
    near = np.zeros(len(hashes), dtype=bool)
    if len(references) == 0:
        return near
    right = references.astype(np.float32) * 2 - 1
    length = hashes.shape[1]
    for at in range(0, len(hashes), chunk):
        left = hashes[at : at + chunk].astype(np.float32) * 2 - 1
        # The product of two +-1 codes is length - 2 * (differing bits).
        near[at : at + chunk] = (left @ right.T).max(axis=1) >= length - 2 * bits - 0.5
    return near
