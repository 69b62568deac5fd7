"""The text tower of `photo`: a stock causal CLIP transformer that starts from token vectors.

Token embeddings start as the linear map from bags of tokens to targets, and the first block starts
by averaging them: the fresh tower is a bag of words whose error is all that training has to mend.
The image half orders its directions by what photos vary in; the tower says the first `width - 2`.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

VOCABULARY, CONTEXT = 16384, 32
START_ID, END_ID = VOCABULARY - 2, VOCABULARY - 1
TOKEN_DEVIATION, OUT_DEVIATION = 0.1, 0.003
CONSTANT = 1.5  # of the root mean square norm of the token vectors
BAG_RIDGE, BAG_ITERATIONS = 0.3, 30


def text_config(
    vocabulary: int = VOCABULARY, width: int = 320, blocks: int = 4, dim: int = 384
) -> CLIPTextConfig:
    """The last two ids are start and end of text; the end also pads."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=blocks,
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=CONTEXT,
        projection_dim=dim,
        hidden_act="gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def build(config: CLIPTextConfig, seed: int = 0) -> CLIPTextModelWithProjection:
    """The tower with random weights."""
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    return CLIPTextModelWithProjection(config)


def bag_vectors(
    rows: list[list[int]], targets: torch.Tensor, weights: NDArray[np.float64], vocabulary: int
) -> torch.Tensor:
    """Vectors (V, D) of tokens whose mean over a text comes nearest to its target (N, D).

    Weighted ridge regression, by conjugate gradients on all columns together, preconditioned with
    the diagonal: tokens are in very different numbers of texts.
    """
    counts = [len(row) for row in rows]
    roots = np.sqrt(weights)
    shares = np.repeat(roots / np.array(counts), counts).astype(np.float32)
    columns = np.concatenate([np.array(row) for row in rows])
    starts = np.concatenate([[0], np.cumsum(counts)])
    bags = sparse.csr_matrix((shares, columns, starts), shape=(len(rows), vocabulary))
    normal = (bags.T @ bags + BAG_RIDGE * sparse.identity(vocabulary, np.float32)).tocsr()
    diagonal = normal.diagonal()[:, None]
    found = np.zeros((vocabulary, targets.shape[1]), np.float32)
    residual = bags.T @ (roots[:, None] * targets.numpy()).astype(np.float32)
    step = scaled = residual / diagonal
    size = (residual * scaled).sum(axis=0)
    for _ in range(BAG_ITERATIONS):
        image = normal @ step
        length = size / np.maximum((step * image).sum(axis=0), 1e-12)
        found, residual = found + length * step, residual - length * image
        scaled = residual / diagonal
        last, size = size, (residual * scaled).sum(axis=0)
        step = scaled + size / np.maximum(last, 1e-12) * step
    return torch.from_numpy(found)


@torch.no_grad()
def start_as_bag(model: CLIPTextModelWithProjection, vectors: torch.Tensor) -> None:
    """Sets the tower so that it says, roughly, the mean of `bag_vectors` (V, D).

    Two channels hold a constant larger than the vectors and its negative, so that the layer norms
    keep which token counts for much and which for little.
    """
    embedding = model.text_model.embeddings.token_embedding.weight
    width = embedding.shape[1]
    tokens = vectors[:, : width - 2]
    used = tokens[tokens.abs().sum(dim=1) > 0]
    tokens = tokens / used.square().mean().sqrt() * TOKEN_DEVIATION
    constant = CONSTANT * TOKEN_DEVIATION * (width / 2) ** 0.5
    embedding[:, 0], embedding[:, 1] = constant, -constant
    embedding[:, 2 : 2 + tokens.shape[1]] = tokens
    model.text_model.embeddings.position_embedding.weight.normal_(std=TOKEN_DEVIATION / 10)
    for block in model.text_model.encoder.layers:
        attention, mlp = block.self_attn, block.mlp
        for linear in (attention.out_proj, mlp.fc2):
            linear.weight.normal_(std=OUT_DEVIATION)
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.fc1):
            linear.weight[:, :2] = 0  # else every token would say the same large vector
    attention = model.text_model.encoder.layers[0].self_attn
    for linear in (attention.q_proj, attention.k_proj):
        linear.weight.normal_(std=OUT_DEVIATION)
        linear.weight[:, :2] = 0
    for linear in (attention.v_proj, attention.out_proj):
        linear.weight.copy_(torch.eye(width))
    model.text_projection.weight.zero_()
    model.text_projection.weight[: tokens.shape[1], 2:].fill_diagonal_(1)


def text_features(model: CLIPTextModelWithProjection, ids: torch.Tensor) -> torch.Tensor:
    """Unit features (B, D) of token ids (B, T)."""
    return functional.normalize(model(input_ids=ids).text_embeds.float(), dim=1)
