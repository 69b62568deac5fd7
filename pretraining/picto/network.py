"""The architecture of picto, as configurations of stock `transformers` classes."""

import torch
from transformers import CLIPConfig, CLIPModel

IMAGE_PX = 48
PATCH_PX = 8
VOCABULARY = 4096
CONTEXT = 32
START_ID, END_ID = VOCABULARY - 2, VOCABULARY - 1
PIXEL_MEAN, PIXEL_STD = 0.5, 0.5


def picto_config(
    width: int = 192, image_blocks: int = 6, text_blocks: int = 4, dim: int = 256
) -> CLIPConfig:
    """A ViT of `image_blocks` and a causal text tower of `text_blocks`, both `width` wide.

    `eos_token_id` is the true end-of-text id: with the default of 2, transformers would pool the
    text feature at the largest token id of a row instead.
    """
    shared = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": max(1, width // 64),
        "hidden_act": "gelu",
        "projection_dim": dim,
    }
    text = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT,
        "num_hidden_layers": text_blocks,
        "bos_token_id": START_ID,
        "eos_token_id": END_ID,
        "pad_token_id": END_ID,
    }
    vision = {
        "image_size": IMAGE_PX,
        "patch_size": PATCH_PX,
        "num_hidden_layers": image_blocks,
    }
    return CLIPConfig(
        text_config={**shared, **text}, vision_config={**shared, **vision}, projection_dim=dim
    )


def build(seed: int, config: CLIPConfig | None = None) -> CLIPModel:
    """A `CLIPModel` with random weights. Eager attention trains fastest at these lengths."""
    torch.manual_seed(seed)
    config = config or picto_config()
    config._attn_implementation = "eager"
    return CLIPModel(config)


def project_images(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Features (B, D) of normalised pixels (B, 3, P, P) at any multiple of the patch size."""
    pooled = model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True).pooler_output
    projected: torch.Tensor = model.visual_projection(pooled)
    return projected


def image_features(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Unit features (B, D) of the same."""
    return torch.nn.functional.normalize(project_images(model, pixels), dim=-1)


def text_features(model: CLIPModel, ids: torch.Tensor) -> torch.Tensor:
    """Unit features (B, D) of token ids (B, T), padded with the end-of-text id."""
    pooled = model.text_model(input_ids=ids).pooler_output
    return torch.nn.functional.normalize(model.text_projection(pooled), dim=-1)
