"""Published checkpoints in their real layouts, of any size: real tensors, or none on meta.

Where a public library defines the layout (transformers, segment-anything), its class makes the
names; those of LAVIS, DINOv2's repository, GLaMM and CALICO are written out here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from segment_anything import modeling as sam_modeling
from torch import Tensor, nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    SamModel,
)

from calico.config.calico import CalicoConfig, SamConfig
from calico.config.open_values import open_value
from calico.model.grounding import build_sam

State = dict[str, Tensor]
# What transformers' DINOv2 files call attention, and what its newer modules do.
MOVED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def randomised(model: nn.Module) -> nn.Module:
    """Give every weight a value of its own."""
    for weight in model.parameters():
        if not weight.is_meta:
            nn.init.normal_(weight, std=0.05)
    return model.eval()


def llama_config(config: CalicoConfig, rows: int) -> dict[str, Any]:
    chosen = config.language
    return {
        "vocab_size": rows,
        "hidden_size": chosen.hidden_size,
        "intermediate_size": chosen.mlp_size,
        "num_hidden_layers": chosen.layers,
        "num_attention_heads": chosen.heads,
        "max_position_embeddings": chosen.max_positions,
        "rms_norm_eps": open_value(chosen, "norm_eps"),
    }


def llama(config: CalicoConfig, rows: int) -> LlamaForCausalLM:
    return randomised(LlamaForCausalLM(LlamaConfig(**llama_config(config, rows))))  # type: ignore[return-value]


def blip_parts(config: CalicoConfig) -> dict[str, dict[str, int]]:
    """Return what InstructBLIP and BLIP-2 share: the descriptions of EVA-CLIP and the Q-Former."""
    seen, asked = config.vision, config.qformer
    return {
        "vision_config": {
            "hidden_size": seen.hidden_size,
            "intermediate_size": seen.mlp_size,
            "num_hidden_layers": seen.layers,
            "num_attention_heads": seen.heads,
            "image_size": seen.image_size,
            "patch_size": seen.patch_size,
        },
        "qformer_config": {
            "vocab_size": asked.vocabulary,
            "hidden_size": asked.hidden_size,
            "intermediate_size": asked.mlp_size,
            "num_hidden_layers": asked.layers,
            "num_attention_heads": asked.heads,
            "cross_attention_frequency": asked.cross_attention_every,
            "encoder_hidden_size": seen.hidden_size,
        },
    }


def instructblip(config: CalicoConfig, rows: int) -> InstructBlipForConditionalGeneration:
    """Return InstructBLIP with a Llama inside."""
    described = InstructBlipConfig(
        **blip_parts(config),
        text_config={"model_type": "llama", **llama_config(config, rows)},
        num_query_tokens=config.qformer.queries,
    )
    return randomised(InstructBlipForConditionalGeneration(described))  # type: ignore[return-value]


def blip2(config: CalicoConfig, text: str = "opt") -> Blip2ForConditionalGeneration:
    """Return BLIP-2 with an OPT or T5 of 20 columns inside, whatever the size of the rest."""
    opt = {
        "model_type": "opt",
        "vocab_size": 50,
        "hidden_size": 20,
        "num_hidden_layers": 1,
        "ffn_dim": 8,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "word_embed_proj_dim": 20,
    }
    t5 = {"model_type": "t5", "vocab_size": 50, "d_model": 20, "d_kv": 4, "d_ff": 8}
    t5 |= {"num_layers": 1, "num_heads": 2}
    described = Blip2Config(
        **blip_parts(config),
        text_config=opt if text == "opt" else t5,
        num_query_tokens=config.qformer.queries,
    )
    return randomised(Blip2ForConditionalGeneration(described))  # type: ignore[return-value]


def qwen2(config: CalicoConfig, rows: int) -> State:
    """Return a Qwen2 as its file has it: the output layer is tied, so it is not there."""
    values = llama_config(config, rows) | {
        "num_key_value_heads": config.language.kv_heads,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    }
    state = dict(randomised(Qwen2ForCausalLM(Qwen2Config(**values))).state_dict())
    state.pop("lm_head.weight", None)
    return state


def dinov2(config: CalicoConfig) -> Dinov2Model | Dinov2WithRegistersModel:
    chosen = config.semantic
    shape: dict[str, Any] = {
        "hidden_size": chosen.hidden_size,
        "num_hidden_layers": chosen.layers,
        "num_attention_heads": chosen.heads,
        "image_size": chosen.position_size,
        "patch_size": chosen.patch_size,
        "use_swiglu_ffn": chosen.swiglu,
    }
    model: nn.Module
    if registers := open_value(chosen, "registers"):
        described = Dinov2WithRegistersConfig(num_register_tokens=registers, **shape)
        model = Dinov2WithRegistersModel(described)
    else:
        model = Dinov2Model(Dinov2Config(**shape))
    return randomised(model)  # type: ignore[return-value]


def sam(config: CalicoConfig) -> SamModel:
    return randomised(build_sam(config.sam))  # type: ignore[return-value]


def segment_anything(chosen: SamConfig) -> nn.Module:
    """Return segment-anything's own model."""
    grid = chosen.image_size // chosen.patch_size
    model = sam_modeling.Sam(
        image_encoder=sam_modeling.ImageEncoderViT(
            depth=chosen.layers,
            embed_dim=chosen.hidden_size,
            img_size=chosen.image_size,
            mlp_ratio=chosen.mlp_size / chosen.hidden_size,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=chosen.heads,
            patch_size=chosen.patch_size,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=chosen.global_layers,
            window_size=chosen.window,
            out_chans=chosen.prompt_size,
        ),
        prompt_encoder=sam_modeling.PromptEncoder(
            chosen.prompt_size, (grid, grid), (chosen.image_size, chosen.image_size), 16
        ),
        mask_decoder=sam_modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=sam_modeling.TwoWayTransformer(
                depth=chosen.decoder_layers,
                embedding_dim=chosen.prompt_size,
                mlp_dim=chosen.decoder_mlp_size,
                num_heads=chosen.decoder_heads,
            ),
            transformer_dim=chosen.prompt_size,
            iou_head_depth=3,
            iou_head_hidden_dim=chosen.iou_head_size,
        ),
    )
    return randomised(model)


def lavis(config: CalicoConfig, prefix: str = "", text: bool = False) -> State:
    """Return EVA-CLIP, its norm, Q-Former and queries as LAVIS names them.

    With `text` the Q-Former can read, as InstructBLIP's.
    """
    seen, asked = config.vision, config.qformer
    wide, inner = seen.hidden_size, seen.mlp_size
    state: State = {
        "visual_encoder.cls_token": torch.randn(1, 1, wide),
        "visual_encoder.pos_embed": torch.randn(1, 1 + seen.patches, wide),
        "visual_encoder.patch_embed.proj.weight": torch.randn(
            wide, 3, seen.patch_size, seen.patch_size
        ),
        "visual_encoder.patch_embed.proj.bias": torch.randn(wide),
    }
    for number in range(seen.layers):
        block = f"visual_encoder.blocks.{number}."
        state |= _linear(block + "attn.proj", wide, wide)
        state[block + "attn.qkv.weight"] = torch.randn(3 * wide, wide)
        state |= {block + f"attn.{part}_bias": torch.randn(wide) for part in "qv"}
        state |= _norm(block + "norm1", wide) | _norm(block + "norm2", wide)
        state |= _linear(block + "mlp.fc1", inner, wide) | _linear(block + "mlp.fc2", wide, inner)
    state |= _norm("ln_vision", wide)
    width, mlp = asked.hidden_size, asked.mlp_size
    state["query_tokens"] = torch.randn(1, asked.queries, width)
    state |= _norm("Qformer.bert.embeddings.LayerNorm", width)
    for number in range(asked.layers):
        layer = f"Qformer.bert.encoder.layer.{number}."
        crossed = ["crossattention"] * (number % asked.cross_attention_every == 0)
        for kind in ("attention", *crossed):
            keys = wide if kind == "crossattention" else width
            for part, size in (("query", width), ("key", keys), ("value", keys)):
                state |= _linear(f"{layer}{kind}.self.{part}", width, size)
            state |= _linear(f"{layer}{kind}.output.dense", width, width)
            state |= _norm(f"{layer}{kind}.output.LayerNorm", width)
        state |= _linear(layer + "intermediate_query.dense", mlp, width)
        state |= _linear(layer + "output_query.dense", width, mlp)
        state |= _norm(layer + "output_query.LayerNorm", width)
        if text:
            state |= _linear(layer + "intermediate.dense", mlp, width)
            state |= _linear(layer + "output.dense", width, mlp)
            state |= _norm(layer + "output.LayerNorm", width)
    if text:
        embeddings = "Qformer.bert.embeddings."
        state[embeddings + "word_embeddings.weight"] = torch.randn(asked.vocabulary, width)
        state[embeddings + "position_embeddings.weight"] = torch.randn(512, width)
        state[embeddings + "position_ids"] = torch.arange(512)[None]
        state["Qformer.cls.predictions.bias"] = torch.randn(asked.vocabulary)
    return {prefix + name: value for name, value in state.items()}


def dinov2_hub(model: nn.Module, config: CalicoConfig) -> State:
    """Return a DINOv2 model as its own repository names it."""
    old = {_old(name): value for name, value in model.state_dict().items()}
    state = {
        "cls_token": old["embeddings.cls_token"],
        "mask_token": old["embeddings.mask_token"],
        "pos_embed": old["embeddings.position_embeddings"],
        "patch_embed.proj.weight": old["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": old["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": old["layernorm.weight"],
        "norm.bias": old["layernorm.bias"],
    }
    if "embeddings.register_tokens" in old:
        state["register_tokens"] = old["embeddings.register_tokens"]
    for number in range(config.semantic.layers):
        here, there = f"encoder.layer.{number}.", f"blocks.{number}."
        for kind in ("weight", "bias"):
            parts = [
                old[f"{here}attention.attention.{p}.{kind}"] for p in ("query", "key", "value")
            ]
            state[f"{there}attn.qkv.{kind}"] = torch.cat(parts)
            state[f"{there}attn.proj.{kind}"] = old[f"{here}attention.output.dense.{kind}"]
            for name in ("norm1", "norm2"):
                state[f"{there}{name}.{kind}"] = old[f"{here}{name}.{kind}"]
            if config.semantic.swiglu:
                both = f"{here}mlp.weights_in.{kind}"
                if both not in old:
                    halves = [old[f"{here}mlp.{part}_proj.{kind}"] for part in ("gate", "up")]
                    old[both] = torch.cat(halves)
                    old[f"{here}mlp.weights_out.{kind}"] = old[f"{here}mlp.down_proj.{kind}"]
                state[f"{there}mlp.w12.{kind}"] = old[both]
                state[f"{there}mlp.w3.{kind}"] = old[f"{here}mlp.weights_out.{kind}"]
            else:
                for name in ("fc1", "fc2"):
                    state[f"{there}mlp.{name}.{kind}"] = old[f"{here}mlp.{name}.{kind}"]
        state[f"{there}ls1.gamma"] = old[f"{here}layer_scale1.lambda1"]
        state[f"{there}ls2.gamma"] = old[f"{here}layer_scale2.lambda1"]
    return state


def glamm(config: CalicoConfig, rows: int) -> State:
    """Return GLaMM's layout: language model, SAM, [SEG] projection, and what CALICO drops."""
    width = config.language.hidden_size
    state = dict(llama(config, rows).state_dict())
    state |= _prefixed("model.grounding_encoder.", segment_anything(config.sam).state_dict())
    state |= _linear("model.text_hidden_fcs.0.0", width, width)
    state |= _linear("model.text_hidden_fcs.0.2", config.sam.prompt_size, width)
    state |= _linear("model.mm_projector.0", width, 1024)
    state |= {"model.region_encoder.mlvl_fuse.input_conv.0.weight": torch.randn(4, 4)}
    return state


def calico(config: CalicoConfig, rows: int) -> State:
    """Return the layout that the published CALICO checkpoint is expected to have."""
    state = glamm(config, rows)
    state = {n: v for n, v in state.items() if "mm_projector" not in n and "region" not in n}
    state |= lavis(config, "model.")
    wide, width = config.vision.hidden_size, config.language.hidden_size
    query, keys = config.qformer.hidden_size, config.semantic.hidden_size
    state |= _linear("model.mm_projector", width, query)
    state |= _prefixed("model.dino_model.", dinov2_hub(dinov2(config), config))
    for number in range(len(config.correspondence.layers)):
        state |= _linear(f"model.adaptive_layers.{number}", query, width)
        state |= _linear(f"model.reintegration_layers.{number}", width, query)
    with torch.device(next(iter(state.values())).device):
        attention = nn.MultiheadAttention(
            wide, config.correspondence.heads, kdim=keys, vdim=keys, batch_first=True
        )
    return state | _prefixed("model.extraction_layer.", attention.state_dict())


def _prefixed(prefix: str, state: dict[str, Any]) -> State:
    return {prefix + name: value for name, value in state.items()}


def _linear(name: str, out: int, size: int) -> State:
    return {f"{name}.weight": torch.randn(out, size) * 0.1, f"{name}.bias": torch.randn(out)}


def _norm(name: str, size: int) -> State:
    return {f"{name}.weight": torch.randn(size), f"{name}.bias": torch.randn(size)}


def _old(name: str) -> str:
    """Return the name that transformers' DINOv2 files have, whatever its modules are called."""
    for old, new in MOVED.items():
        name = name.replace(f".{new}.", f".{old}.")
    return name
