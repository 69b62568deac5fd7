"""The image tower of photo, and how it starts: as the teacher's pooled feature, roughly.

The patch embedding is the projection of the teacher's centred features on the basis of the joint
space, the first block's attention takes the mean over all tokens, and the visual projection is the
identity. One channel holds a constant larger than the features, so that the layer norms divide by
nearly the same number everywhere. All other matrices are small and random. Such a tower agrees
with the teacher before its first step; training finds what the norms have changed.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from fewtune.backbones import conv_stem
from pretraining.photo.targets import DIM, Targets, to_maps

WIDTH = DIM
VISION: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "image_size": 224,
    "patch_size": conv_stem.STRIDE_PX,
    "hidden_act": "quick_gelu",
    "stem": conv_stem.NAME,
}
STUB = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 2}
SEEN = 200  # views whose tokens tell the size of the constant
CONSTANT = 1.5  # of the root mean square norm of the projected tokens
OUT_STD, IN_STD = 0.01, WIDTH**-0.5


def build(text: dict[str, Any]) -> CLIPModel:
    """Return the model, in training mode, its stem zero."""
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIM))
    conv_stem.attach(model.vision_model)
    return model


@torch.no_grad()
def start_as_teacher(model: CLIPModel, targets: Targets, tokens: Tensor, seed: int = 0) -> None:
    """Fill the image tower; `tokens` (N, 1280) are some of the teacher's, for their size."""
    torch.manual_seed(seed)
    vision: Any = model.vision_model
    basis = targets.basis[:, : WIDTH - 1]
    projected = (tokens - targets.mean) @ basis
    constant = CONSTANT * projected.square().sum(1).mean().sqrt()
    embeddings = vision.embeddings
    embeddings.patch_embedding.weight.zero_()
    embeddings.patch_embedding.weight[1:, :, 0, 0] = basis.T
    embeddings.class_embedding.zero_()
    places = embeddings.position_embedding.weight
    places.normal_(std=0.01 * float(constant) * WIDTH**-0.5)
    places[:, 0] += constant
    places[1:, 1:] -= targets.mean @ basis
    for block in vision.encoder.layers:
        attention, mlp = block.self_attn, block.mlp
        for layer in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.fc1):
            _draw(layer, IN_STD)
        for layer in (attention.out_proj, mlp.fc2):
            _draw(layer, OUT_STD)
    first = vision.encoder.layers[0].self_attn
    for layer in (first.q_proj, first.k_proj):
        _draw(layer, OUT_STD)
    for layer in (first.v_proj, first.out_proj):
        nn.init.eye_(layer.weight)
    projection = model.visual_projection.weight
    projection.zero_()
    projection[: WIDTH - 1, 1:].fill_diagonal_(1.0)


def start(targets: Targets, last: conv_stem.FrozenConv, pool: NDArray[np.float16]) -> CLIPModel:
    """Return a model whose image tower is ready to be trained; its text tower is a stub."""
    model = build(STUB)
    with torch.no_grad():
        wide = F.relu6(last(to_maps(pool[:SEEN])))
    start_as_teacher(model, targets, wide.flatten(2).transpose(1, 2).flatten(0, 1))
    return model


def _draw(layer: nn.Linear, std: float) -> None:
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
