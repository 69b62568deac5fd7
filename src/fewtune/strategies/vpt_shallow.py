"""VPT-shallow: learned tokens next to the image tokens, entered once before the first block.

Jia et al., "Visual Prompt Tuning", ECCV 2022, section 3.2 (VPT-Shallow): VPT-deep with
prompts at the first block only, whose outputs travel on through the later blocks.
"""

from pydantic import Field

from fewtune.strategies.vpt_deep import VptDeep


class VptShallow(VptDeep):
    """Prompt tokens at the input of the image encoder."""

    title = "VPT-shallow"

    depth: int = Field(1, ge=1, le=1, description="prompts enter at the first block")
