"""The layouts of published checkpoints: how one is recognised, and which family has which prefix.

The prefixes of the published CALICO checkpoint are inferred from its authors' earlier code and from
GLaMM, because its index was not at hand: tensors that do not match are reported by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from calico.weights import families
from calico.weights.families import Assignment, Family, Ignored, Piece, Shape
from mixedparts.errors import InputError

_CLIP = Ignored("CLIP and its projection, which CALICO replaces by EVA-CLIP and the Q-Former")
_REGION = Ignored("GLaMM's region encoder, for boxes in the prompt")
_OTHER_LANGUAGE = Ignored("its language model is OPT or T5: another --init gives a Llama or Qwen")
_OTHER_PROJECTION = Ignored("the projection to its own language model, which is not used")
_RETRIEVAL = Ignored("heads for retrieval and matching")
_SELF_SUPERVISED = Ignored("heads of DINOv2's own training")


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """The layout of one kind of checkpoint.

    Attributes:
        name: for reports, and for `calico.weights.agreement`.
        sign: pattern of a name that shows the layout, unless an earlier one of `LAYOUTS` fits.
        rules: (pattern of a prefix, family of the rest or why it is ignored); the first match
            counts.
    """

    name: str
    sign: str
    rules: tuple[tuple[str, Family | Ignored], ...]

    def find(self, name: str, shape: Shape) -> Assignment:
        """Return what a tensor becomes in the model; None if the layout does not have its name."""
        # `re.match`, not `search`: a prefix counts only at the start of a name.
        for prefix, rule in self.rules:
            match = re.match(prefix, name)
            if match is not None:
                return rule if isinstance(rule, Ignored) else rule(name[match.end() :], shape)
        return None


def _cem(name: str, shape: Shape) -> Assignment:
    return [Piece(f"correspondence.extraction.attention.{name}")]


def _cam(linear: str) -> Family:
    def family(name: str, shape: Shape) -> Assignment:
        # "0.weight" -> "0.adaptation.weight": the authors have a list for each kind of Linear, the
        # model has a list of CAMs with both.
        return [Piece(f"correspondence.adaptive.{name.replace('.', f'.{linear}.', 1)}")]

    return family


# A lookahead matches without consuming: the prefix is part of the language model's own names.
_LANGUAGE = (
    (r"(?=lm_head\.)", families.language),
    (r"(?=model\.(embed_tokens|layers|norm)\.)", families.language),
)
_BLIP_IMAGE: tuple[tuple[str, Family | Ignored], ...] = (
    (r"vision_model\.", families.blip_vision),
    (r"qformer\.", families.qformer),
    (r"(?=embeddings\.(word|position)_)", families.qformer),
    (r"query_tokens$", families.queries),
    (r"(vision_projection|text_projection|itm_head)\.", _RETRIEVAL),
)
_LAVIS: tuple[tuple[str, Family | Ignored], ...] = (
    (r"visual_encoder\.", families.lavis_vision),
    (r"ln_vision\.", families.final_norm),
    (r"Qformer\.", families.lavis_qformer),
    (r"query_tokens$", families.queries),
    (r"(llm_proj|llama_proj)\.", families.projection),
    (r"llm_model\.", families.language),
    (r"(opt|t5)_proj\.", _OTHER_PROJECTION),
    (r"(opt|t5)_model\.", _OTHER_LANGUAGE),
    (r"(vision_proj|text_proj|itm_head)\.|temp$", _RETRIEVAL),
)
_GLAMM: tuple[tuple[str, Family | Ignored], ...] = (
    (r"model\.text_hidden_fcs\.", families.seg_projection),
    (r"model\.(vision_tower|mm_projector)\.", _CLIP),
    (r"model\.region_encoder\.", _REGION),
    *_LANGUAGE,
)

# The order counts: the first layout whose sign occurs is taken. A layout that contains another one
# (CALICO, GLaMM and LISA contain SAM and a language model) comes before it.
LAYOUTS = (
    WeightLayout(
        "CALICO",
        r"model\.(adaptive|reintegration|extraction)_layers?\.",
        (
            (r"model\.grounding_encoder\.", families.segment_anything),
            (r"model\.text_hidden_fcs\.", families.seg_projection),
            (r"model\.Qformer\.", families.lavis_qformer),
            (r"model\.query_tokens$", families.queries),
            (r"model\.visual_encoder\.", families.lavis_vision),
            (r"model\.ln_vision\.", families.final_norm),
            (r"model\.mm_projector\.", families.projection),
            (r"model\.dino_model\.(model\.)?", families.dino_hub),
            (r"model\.adaptive_layers\.", _cam("adaptation")),
            (r"model\.reintegration_layers\.", _cam("reintegration")),
            (r"model\.extraction_layer\.", _cem),
            (r"model\.vision_tower\.", _CLIP),
            (r"model\.region_encoder\.", _REGION),
            *_LANGUAGE,
        ),
    ),
    WeightLayout(
        "GLaMM",
        r"model\.grounding_encoder\.",
        ((r"model\.grounding_encoder\.", families.segment_anything), *_GLAMM),
    ),
    WeightLayout(
        "LISA",
        r"model\.visual_model\.",
        ((r"model\.visual_model\.", families.segment_anything), *_GLAMM),
    ),
    WeightLayout(
        "BLIP-2",
        r"language_model\.(model\.decoder|encoder|decoder|shared)\.",
        (
            *_BLIP_IMAGE,
            (r"language_projection\.", _OTHER_PROJECTION),
            (r"language_model\.", _OTHER_LANGUAGE),
        ),
    ),
    WeightLayout(
        "InstructBLIP",
        r"(vision_model|qformer)\.",
        (
            *_BLIP_IMAGE,
            (r"language_projection\.", families.projection),
            (r"language_model\.", families.language),
        ),
    ),
    WeightLayout("LAVIS", r"(Qformer|visual_encoder|ln_vision)\.", _LAVIS),
    WeightLayout("EVA-CLIP of LAVIS", r"blocks\.0\.attn\.q_bias$", ((r"", families.lavis_vision),)),
    WeightLayout(
        "EVA-CLIP", r"encoder\.layers\.0\.self_attn\.qkv\.", ((r"", families.blip_vision),)
    ),
    WeightLayout("Q-Former", r"encoder\.layer\.0\.crossattention\.", ((r"", families.qformer),)),
    WeightLayout(
        "DINOv2 of its repository",
        r"(backbone\.)?blocks\.(0\.)?0\.ls1\.",
        (
            (r"(dino|ibot)(_patch)?_(head|loss)\.", _SELF_SUPERVISED),
            (r"(backbone\.)?", families.dino_hub),
        ),
    ),
    WeightLayout(
        "DINOv2",
        r"(dinov2\.|dinov2_with_registers\.)?encoder\.layer\.0\.layer_scale1\.",
        ((r"(dinov2\.|dinov2_with_registers\.)?", families.dino),),
    ),
    WeightLayout("segment-anything", r"image_encoder\.", ((r"", families.segment_anything),)),
    WeightLayout("SAM", r"vision_encoder\.neck\.", ((r"", families.sam),)),
    WeightLayout("language model", r"model\.layers\.0\.self_attn\.q_proj\.", _LANGUAGE),
)


def recognise(names: Iterable[str], origin: str) -> WeightLayout:
    """Return the layout of a checkpoint from the names of its tensors.

    Args:
        names: of all tensors.
        origin: of the checkpoint, for the error message.

    Raises:
        InputError: it has none of the known layouts.
    """
    listed = list(names)
    for layout in LAYOUTS:
        if any(re.match(layout.sign, name) for name in listed):
            return layout
    shown = ", ".join(listed[:5])
    raise InputError(
        f"{origin} has none of the known layouts; its names start with {shown}",
        f"Known: {', '.join(layout.name for layout in LAYOUTS)}.",
    )
