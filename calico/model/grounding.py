"""Masks from [SEG] states: SAM's decoder with one projected state as its prompt.

CALICO (arXiv 2412.19331), eq. 3.

Shapes: N images; M [SEG] states or masks; D is the width of the language model, C_s that of SAM's
prompts; h and w are rows and columns of SAM's image embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import SamConfig as HfSamConfig
from transformers import (
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

from calico.config.calico import SamConfig
from calico.config.open_values import open_value
from calico.model.vision import INITIAL_STD, ConvStem


class SegProjection(nn.Sequential):
    """The MLP from a hidden state (M, D) to a prompt of SAM (M, C_s), as in LISA and GLaMM.

    Args:
        width: D.
        prompt_size: C_s.
    """

    def __init__(self, width: int, prompt_size: int) -> None:
        super().__init__(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, prompt_size))


def build_sam(config: SamConfig) -> SamModel:
    """Build SAM's vision encoder, prompt encoder and mask decoder."""
    sam = SamModel(
        HfSamConfig(
            vision_config=SamVisionConfig(
                hidden_size=config.hidden_size,
                output_channels=config.prompt_size,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                mlp_dim=config.mlp_size,
                window_size=config.window,
                global_attn_indexes=config.global_layers,
                num_pos_feats=config.prompt_size // 2,
                layer_norm_eps=open_value(config, "norm_eps"),
                initializer_range=INITIAL_STD,
                image_size=config.image_size,
                patch_size=config.patch_size,
            ),
            prompt_encoder_config=SamPromptEncoderConfig(
                hidden_size=config.prompt_size,
                image_size=config.image_size,
                patch_size=config.patch_size,
            ),
            mask_decoder_config=SamMaskDecoderConfig(
                hidden_size=config.prompt_size,
                mlp_dim=config.decoder_mlp_size,
                num_hidden_layers=config.decoder_layers,
                num_attention_heads=config.decoder_heads,
                iou_head_hidden_dim=config.iou_head_size,
            ),
        )
    )
    # These two matter only when no weights are loaded. segment-anything samples the frequencies of
    # the position code from N(0, 1), transformers would scale them by the encoder's width; and it
    # would leave the position table of the encoder at zero.
    nn.init.normal_(sam.shared_image_embedding.positional_embedding)
    positions = sam.vision_encoder.pos_embed
    assert positions is not None
    nn.init.trunc_normal_(positions, std=INITIAL_STD)
    if config.stem == "conv":
        stem = ConvStem(config.hidden_size, config.patch_size)
        sam.vision_encoder.patch_embed.projection = stem  # type: ignore[assignment]
    return sam


class MaskGrounder(nn.Module):
    """[SEG] projection, SAM's prompt encoder and its mask decoder.

    Args:
        prompt_encoder: SAM's; only its embedding for "no mask prompt" and its position code are
            used.
        mask_decoder: SAM's.
        projection: (M, D) -> (M, C_s).
    """

    def __init__(
        self,
        prompt_encoder: SamPromptEncoder,
        mask_decoder: SamMaskDecoder,
        projection: SegProjection,
    ) -> None:
        super().__init__()
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.projection = projection

    def forward(self, states: Tensor, embeddings: Tensor, image: Tensor) -> Tensor:
        """Decode one mask for each state, all of a batch in one call.

        Args:
            states: (M, D) [SEG] states.
            embeddings: (N, C_s, h, w) image embeddings of the batch.
            image: (M,) int64, row of `embeddings` that each state belongs to.

        Returns:
            (M, 4h, 4w) float32 mask logits on SAM's padded square.
        """
        return self.decode(self.projection(states), embeddings, image)

    def decode(self, prompts: Tensor, embeddings: Tensor, image: Tensor) -> Tensor:
        """Decode prompts that are projected already.

        Args:
            prompts: (M, C_s).
            embeddings: (N, C_s, h, w) image embeddings.
            image: (M,) int64, row of `embeddings` that each prompt belongs to.

        Returns:
            (M, 4h, 4w) float32 mask logits on SAM's padded square.
        """
        height, width = embeddings.shape[-2:]
        if prompts.shape[0] == 0:
            return embeddings.new_zeros(0, 4 * height, 4 * width, dtype=torch.float32)
        # Every prompt has its own copy of its image: the decoder would copy it anyway, and images
        # with unequal numbers of prompts need no padding. The state is one sparse prompt in the
        # place of a click or box; its own IoU head is not read.
        masks, _ = self.mask_decoder(
            image_embeddings=embeddings[image],
            image_positional_embeddings=self._positions(height, width).to(embeddings.dtype),
            sparse_prompt_embeddings=prompts[:, None, None],
            dense_prompt_embeddings=self.prompt_encoder.no_mask_embed.weight[..., None, None],
            multimask_output=False,
        )
        logits: Tensor = masks[:, 0, 0].float()
        return logits

    @torch.no_grad()
    def _positions(self, height: int, width: int) -> Tensor:
        """Return SAM's position code (1, C_s, h, w) float32 of the centres of embedding cells."""
        # SamModel's own method works for its configured square only; this one for any h x w.
        # Coordinates are (x, y) in [0, 1], centres at half cells.
        device = self.prompt_encoder.no_mask_embed.weight.device
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        # The code is the sine of a product of coordinates and frequencies. Autocast would take the
        # product in bf16, which moves the code by up to 0.1; rounding the code itself costs 0.002.
        # The meta device, on which costs are counted, has no autocast.
        kind = "cpu" if device.type == "meta" else device.type
        with torch.autocast(kind, enabled=False):
            code: Tensor = self.prompt_encoder.shared_embedding(grid)
        return code.permute(2, 0, 1)[None]
