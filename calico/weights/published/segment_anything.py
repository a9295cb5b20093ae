"""SAM's own files, held against the module that `segment_anything` builds for them.

The files are `sam_vit_b_01ec64.pth`, `sam_vit_l_0b3195.pth` and `sam_vit_h_4b8939.pth`, and
fine-tuned ones in their layout. The package's registry builds the module of a variant on the meta
device, without memory; every key and every shape of the file must be the module's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from calico.config.calico import SamConfig
from calico.weights.matching import Matching, shape_of
from calico.weights.name_lists import fault_lines
from mixedparts.errors import InputError, missing_package

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

LAYOUT = "segment-anything"
_BLOCKS = "image_encoder.blocks."
Shapes = Mapping[str, tuple[int, ...]]
# Width and number of blocks -> name in the registry.
_VARIANTS = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}


def check_native_sams(matching: Matching, config: SamConfig) -> list[str]:
    """Check the sources in segment-anything's own layout.

    Args:
        matching: of all sources.
        config: of the SAM that they fill.

    Returns:
        One line for each, with its variant.

    Raises:
        InputError: keys are missing, unexpected or of another shape than in the variant's module,
            or the variant is not the one of the configuration.
        EnvironmentFault: segment_anything cannot be imported.
    """
    used = matching.suppliers(("encoders.sam.", "grounding."))
    lines = []
    for number, source in enumerate(matching.sources):
        if matching.layouts[number] == LAYOUT:
            shapes = {name: shape_of(source, name) for name in source.weights}
            lines.append(_checked(source.origin, shapes, config, number in used))
    return lines


def _checked(origin: str, shapes: Shapes, config: SamConfig, used: bool) -> str:
    """Return the line about one file after its check."""
    size = _size(shapes)
    variant = _VARIANTS.get(size)
    described = f"{size[1]} blocks of {size[0]}"
    if variant is not None and used:
        _check_variant(origin, variant, described, config)
    if variant is None and not used:
        return f"{origin}: a SAM of {described}, not used"
    module = _registered(variant) if variant is not None else _of_size(config)
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    faults = fault_lines(
        {
            "missing": sorted(wanted.keys() - shapes.keys()),
            "unexpected": sorted(shapes.keys() - wanted.keys()),
            "of another shape": [
                f"{name} is {shapes[name]}, not {wanted[name]}"
                for name in sorted(wanted.keys() & shapes.keys())
                if shapes[name] != wanted[name]
            ],
        }
    )
    kind = f"SAM {variant}" if variant is not None else "the SAM of the configuration"
    if faults:
        raise InputError(
            f"{origin} ({described}) is not {kind} of segment_anything:\n"
            + "\n".join(f"  {fault}" for fault in faults),
            "Download the file again, or set the sizes of this SAM under `sam` in a --config file.",
        )
    return f"{origin}: {kind} of segment_anything, {described}, all {len(wanted)} keys and shapes"


def _size(shapes: Shapes) -> tuple[int, int]:
    """Return width and number of blocks of an image encoder."""
    blocks = {name.split(".")[2] for name in shapes if name.startswith(_BLOCKS)}
    table = shapes.get("image_encoder.pos_embed", ())
    return (table[-1] if table else 0), len(blocks)


def _check_variant(origin: str, variant: str, described: str, config: SamConfig) -> None:
    """Raise if a variant is not the one that the configuration describes."""
    encoder = _registered(variant).image_encoder
    blocks = list(encoder.blocks)
    theirs = {
        "hidden_size": blocks[0].mlp.lin1.in_features,
        "layers": len(blocks),
        "mlp_size": blocks[0].mlp.lin1.out_features,
        # These three do not show in the names and shapes of the weights alone.
        "heads": blocks[0].attn.num_heads,
        "global_layers": tuple(n for n, block in enumerate(blocks) if block.window_size == 0),
        "window": max(block.window_size for block in blocks),
    }
    differing = [
        f"sam.{name}: {value!r} in {variant}, {getattr(config, name)!r} here"
        for name, value in theirs.items()
        if getattr(config, name) != value
    ]
    if differing:
        raise InputError(
            f"{origin} is SAM {variant} ({described}), and the configuration has another SAM:\n"
            + "\n".join(f"  {line}" for line in differing),
            "Give the file of the right variant, or set these values in a --config file.",
        )


def _registered(variant: str) -> Sam:
    """Return the module of a variant from the registry, without memory."""
    try:
        from segment_anything import sam_model_registry
    except ImportError as error:
        raise _lacking(error) from error
    with torch.device("meta"):
        built: Sam = sam_model_registry[variant]()
    return built


def _of_size(config: SamConfig) -> Sam:
    """Return segment_anything's module in a size that its registry does not have."""
    try:
        from segment_anything import modeling
    except ImportError as error:
        raise _lacking(error) from error
    cells = config.image_size // config.patch_size
    with torch.device("meta"):
        return modeling.Sam(
            image_encoder=modeling.ImageEncoderViT(
                depth=config.layers,
                embed_dim=config.hidden_size,
                img_size=config.image_size,
                mlp_ratio=config.mlp_size / config.hidden_size,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                num_heads=config.heads,
                patch_size=config.patch_size,
                qkv_bias=True,
                use_rel_pos=True,
                global_attn_indexes=config.global_layers,
                window_size=config.window,
                out_chans=config.prompt_size,
            ),
            prompt_encoder=modeling.PromptEncoder(
                config.prompt_size, (cells, cells), (config.image_size, config.image_size), 16
            ),
            mask_decoder=modeling.MaskDecoder(
                num_multimask_outputs=3,
                transformer=modeling.TwoWayTransformer(
                    depth=config.decoder_layers,
                    embedding_dim=config.prompt_size,
                    mlp_dim=config.decoder_mlp_size,
                    num_heads=config.decoder_heads,
                ),
                transformer_dim=config.prompt_size,
                iou_head_depth=3,
                iou_head_hidden_dim=config.iou_head_size,
            ),
        )


def _lacking(error: ImportError) -> Exception:
    return missing_package(error, "a .pth file of SAM", "train") or error
