"""Convolutional stem: a frozen EfficientNet-Lite0 in the place of CLIP's patch embedding.

The network is that of Tan and Le, "EfficientNet", ICML 2019, table 1, in its Lite form: ReLU6
instead of swish, no squeeze-and-excitation. Each batch norm is folded into the convolution before
it. Its last map has one vector of 1,280 values for every 32 x 32 px, as many as a patch embedding
with patches of 32 px makes, so the rest of the tower is a stock CLIP vision transformer.

The stem's weights are buffers, so no method trains them and every cut lies above them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = "efficientnet-lite0"
STRIDE_PX = 32
CHANNELS = 1280
# Kernel, stride of the first block, expansion, channels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def _relu6(x: Tensor) -> Tensor:
    """In place: the maps are large, and nothing below the patch embedding keeps its input."""
    return F.hardtanh(x, 0.0, 6.0, inplace=True)


class FrozenConv(nn.Module):
    """A convolution with TensorFlow's "same" padding for sides divisible by the stride."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs // groups, kernel, kernel))
        self.register_buffer("bias", torch.zeros(outputs))
        self.stride, self.groups = stride, groups
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.uneven = (before, after) * 2 if before != after else None
        self.padding = 0 if self.uneven else before

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        if self.uneven:
            x = F.pad(x, self.uneven)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = FrozenConv(inputs, width, 1) if expansion > 1 else None
        self.depthwise = FrozenConv(width, width, kernel, stride, groups=width)
        self.project = FrozenConv(width, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y: Tensor = _relu6(self.expand(x)) if self.expand else x
        y = self.project(_relu6(self.depthwise(y)))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """All of the network before its pooling; `last` is the 1 x 1 convolution at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = FrozenConv(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        inputs = 32
        for kernel, stride, expansion, outputs, count in STAGES:
            for i in range(count):
                step = 1 if i else stride
                blocks.append(InvertedResidual(inputs, outputs, kernel, step, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = FrozenConv(inputs, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> (B, 1280, H / 32, W / 32)."""
        return _relu6(self.last(self.narrow(x)))

    def narrow(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> the map before `last`: (B, 320, H / 32, W / 32)."""
        x = x.contiguous(memory_format=torch.channels_last)
        out: Tensor = self.blocks(_relu6(self.first(x)))
        return out


class StemmedPatches(nn.Conv2d):
    """A patch embedding that is the stem and one trainable 1 x 1 convolution: 1,280 -> W."""

    def __init__(self, width: int) -> None:
        super().__init__(CHANNELS, width, 1, bias=False)
        self.stem = EfficientNetLite0()

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> (B, W, H / 32, W / 32)."""
        out: Tensor = super().forward(self.stem(x))
        return out


def attach(vision_model: Any) -> None:
    """Put the stem that the config names into the place of the patch embedding.

    Args:
        vision_model: A transformers CLIPVisionModel; without `stem` in its config it stays as it
            is.

    Raises:
        ValueError: The stem is unknown, or the patches are not of its size.
    """
    config, embeddings = vision_model.config, vision_model.embeddings
    name = getattr(config, "stem", None)
    if name is None:
        return
    if name != NAME or config.patch_size != STRIDE_PX:
        raise ValueError(
            f"vision_config.stem is {name!r} with patch_size {config.patch_size}; the only stem is "
            f"{NAME!r}, with {STRIDE_PX}."
        )
    embeddings.patch_embedding = StemmedPatches(embeddings.embed_dim)
