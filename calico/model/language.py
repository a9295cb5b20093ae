"""The language model: Llama, with LoRA where its own weights stay frozen."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from calico.config import LanguageConfig


def build_language_model(config: LanguageConfig, new_rows: Sequence[int] = ()) -> LlamaForCausalLM:
    """Build the causal language model.

    Args:
        config: with the final vocabulary size.
        new_rows: ids whose embeddings alone are trained with `new_token_rows="trained"`.
    """
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.hidden_size,
            intermediate_size=config.mlp_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.max_positions,
            tie_word_embeddings=config.tie_embeddings,
        )
    )
    if config.tuning == "lora":
        add_lora(model, config, new_rows)
    elif config.tuning == "frozen":
        model.requires_grad_(False)
    return model


def add_lora(model: LlamaForCausalLM, config: LanguageConfig, new_rows: Sequence[int]) -> None:
    """Put LoRA into the attention projections, in place, and freeze everything else.

    The pattern is anchored on the layers of the language model: SAM's decoder has modules of the
    same names.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    trained_rows = None
    if config.new_token_rows == "trained" and new_rows:
        trained_rows = {"embed_tokens": list(new_rows), "lm_head": list(new_rows)}
    inject_adapter_in_model(
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=rf"model\.layers\.\d+\.self_attn\.({'|'.join(config.lora_targets)})",
            trainable_token_indices=trained_rows,
            bias="none",
        ),
        model,
    )


def decoder_layers(model: LlamaForCausalLM) -> nn.ModuleList:
    """Return the layers that CAMs hook."""
    layers: nn.ModuleList = model.model.layers
    return layers
