"""SAM's parts against the published implementation, with its own weight names."""

from __future__ import annotations

import torch
from torch import nn

from calico.config.calico import SamConfig
from calico.model.grounding import MaskGrounder, SegProjection, build_sam
from calico.weights.matching import WeightSource, match
from tests.factories.published_weights import segment_anything

SMALL = SamConfig(
    image_size=64,
    patch_size=8,
    hidden_size=32,
    layers=2,
    heads=2,
    mlp_size=64,
    global_layers=(1,),
    window=3,
    prompt_size=32,
    decoder_layers=2,
    decoder_heads=2,
    decoder_mlp_size=40,
    iou_head_size=24,
)


def published() -> nn.Module:
    """Return segment-anything's model of the same size, every weight random."""
    torch.manual_seed(0)
    sam = segment_anything(SMALL)
    for weight in sam.parameters():
        nn.init.normal_(weight, std=0.2)
    return sam.eval()


def loaded(theirs: nn.Module) -> nn.Module:
    """Return transformers' SAM with the weights that a start takes from segment-anything's."""
    matching = match([WeightSource("sam.pth", theirs.state_dict())])
    ours = build_sam(SMALL).eval()
    stable = {
        "vision_encoder.": "encoders.sam.",
        "prompt_encoder.": "grounding.prompt_encoder.",
        "mask_decoder.": "grounding.mask_decoder.",
    }
    code = "prompt_encoder.shared_embedding.positional_embedding"
    found = {}
    for name in ours.state_dict():
        # `SamModel` holds the position code twice: in the prompt encoder and shared.
        own = code if name == "shared_image_embedding.positional_embedding" else name
        prefix = next(prefix for prefix in stable if own.startswith(prefix))
        found[name] = matching.value(own.replace(prefix, stable[prefix], 1))
    ours.load_state_dict(found, strict=True)
    return ours


def test_published_weights_load_and_give_the_same_embeddings_and_masks() -> None:
    theirs = published()
    ours = loaded(theirs)
    pixels = torch.randn(2, 3, SMALL.image_size, SMALL.image_size)
    prompts = torch.randn(5, SMALL.prompt_size)
    image = torch.tensor([0, 1, 1, 0, 1])
    grounder = MaskGrounder(
        ours.prompt_encoder, ours.mask_decoder, SegProjection(8, SMALL.prompt_size)
    )
    with torch.no_grad():
        embeddings = theirs.image_encoder(pixels)
        torch.testing.assert_close(
            ours.vision_encoder(pixels).last_hidden_state, embeddings, atol=1e-4, rtol=1e-4
        )
        dense = theirs.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        expected = [
            theirs.mask_decoder(
                image_embeddings=embeddings[number][None],
                image_pe=theirs.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=prompt[None, None],
                dense_prompt_embeddings=dense.expand_as(embeddings[number][None]),
                multimask_output=False,
            )[0][0, 0]
            for number, prompt in zip(image.tolist(), prompts, strict=True)
        ]
        masks = grounder.decode(prompts, embeddings, image)
    torch.testing.assert_close(masks, torch.stack(expected), atol=1e-3, rtol=1e-3)


def test_masks_belong_to_the_image_they_were_decoded_on() -> None:
    sam = build_sam(SMALL).eval()
    grounder = MaskGrounder(
        sam.prompt_encoder, sam.mask_decoder, SegProjection(8, SMALL.prompt_size)
    )
    embeddings = torch.randn(3, SMALL.prompt_size, 8, 8)
    prompts = torch.randn(4, SMALL.prompt_size)
    with torch.no_grad():
        together = grounder.decode(prompts, embeddings, torch.tensor([2, 0, 0, 1]))
        alone = grounder.decode(prompts[3:], embeddings[1:2], torch.tensor([0]))
    torch.testing.assert_close(together[3:], alone, atol=1e-5, rtol=1e-4)
    assert grounder.decode(prompts[:0], embeddings, torch.tensor([], dtype=torch.int64)).shape == (
        0,
        32,
        32,
    )
