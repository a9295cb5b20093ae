"""The language model: a decoder of the Llama family, with LoRA where its weights stay frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from inspect import signature
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, Cache, PreTrainedModel

from calico.config.calico import LanguageConfig
from calico.config.open_values import open_value
from calico.model.quantized import Kind, quantize_linears, quiet_bitsandbytes


def build_language_model(
    config: LanguageConfig,
    new_rows: Sequence[int] = (),
    attention: str = "sdpa",
    quantization: Kind = "none",
) -> PreTrainedModel:
    """Build the causal language model with random weights and mark which are trained.

    Args:
        config: with the final vocabulary size.
        new_rows: ids of the embedding rows that `new_token_rows="trained"` trains.
        attention: "sdpa" or "eager".
        quantization: of the frozen Linears in its layers.

    Returns:
        The model, with adapters where the configuration has them.

    Raises:
        EnvironmentFault: bitsandbytes is needed and not installed.
    """
    model = build_base(config, attention)
    # Before the adapters, which wrap the Linears and stay in fp32.
    quantize_linears(model, quantization)
    tune(model, config, new_rows)
    return model


def cache_argument(model: nn.Module, stored: Cache | None) -> dict[str, Any]:
    """Return the keyword argument that hands a cache of keys and values to a decoder.

    transformers 5.24 calls it `cache` and drops `past_key_values` with 5.40; the oldest allowed
    version knows `past_key_values` only.

    Args:
        model: the decoder, such as `LlamaModel`.
        stored: keys and values so far; None keeps none, as in training.

    Returns:
        The argument by the name that the decoder's `forward` has.
    """
    return {_cache_name(type(model).forward): stored, "use_cache": stored is not None}


@cache
def _cache_name(forward: Callable[..., Any]) -> str:
    return "cache" if "cache" in signature(forward).parameters else "past_key_values"


def build_base(config: LanguageConfig, attention: str = "sdpa") -> PreTrainedModel:
    """Build the causal language model without adapters."""
    shape: dict[str, Any] = {
        "vocab_size": config.vocabulary,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.mlp_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": open_value(config, "norm_eps"),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": open_value(config, "rope_theta"),
        },
        "tie_word_embeddings": open_value(config, "tie_embeddings"),
    }
    # Some families (Qwen3) have a default head size that does not follow from the width.
    if config.head_size or config.family != "llama":
        shape["head_dim"] = config.head_size or config.hidden_size // config.heads
    if config.family == "mistral":
        # Its default is a window of 4,096 positions; the other families attend everywhere.
        shape["sliding_window"] = None
    architecture = AutoConfig.for_model(config.family, **shape)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        architecture, attn_implementation=attention
    )
    return model


def tune(model: PreTrainedModel, config: LanguageConfig, new_rows: Sequence[int]) -> None:
    """Mark which weights of the language model are trained, in place.

    Args:
        model: without adapters; `tuning="lora"` adds them.
        config: how it is tuned.
        new_rows: ids of the embedding rows that `new_token_rows="trained"` trains.
    """
    if config.tuning == "lora":
        add_lora(model, config, new_rows)
    elif config.tuning == "frozen":
        model.requires_grad_(False)


def add_lora(model: PreTrainedModel, config: LanguageConfig, new_rows: Sequence[int]) -> None:
    """Put LoRA into the attention projections, in place, and freeze everything else.

    Args:
        model: without adapters.
        config: rank, scale, dropout and names of the projections.
        new_rows: ids of the embedding rows that `new_token_rows="trained"` trains.
    """
    quiet_bitsandbytes()  # peft imports it where it is installed
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    trained_rows = None
    if config.new_token_rows == "trained" and new_rows:
        trained_rows = {"embed_tokens": list(new_rows)}
        # PEFT gives a tied output layer the rows of the embedding by itself; naming it too would
        # add them twice (PEFT 0.18).
        if not model.config.tie_word_embeddings:
            trained_rows["lm_head"] = list(new_rows)
    # Injected in place: PEFT's wrapper would change the names of all modules. The pattern starts at
    # the layers of the language model, because SAM's decoder has projections of the same names.
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


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the layers that the CAMs hook into."""
    layers: nn.ModuleList = model.model.layers
    return layers


@contextmanager
def checkpointed(layers: nn.ModuleList) -> Iterator[None]:
    """Store only the inputs of the layers inside the `with` block; the rest is computed again.

    Yields:
        None; the layers are as before after the block.
    """
    # Only `forward` is wrapped. A CAM's hook runs before it, once, and the second computation
    # starts from the hook's result. transformers' own switch wraps `__call__` up to 5.10, so the
    # hook would run again in the backward pass, after the CAMs have been detached.
    with ExitStack() as stack:
        for layer in layers:
            # The attribute of the instance hides the method of its class until it is deleted.
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
            stack.callback(delattr, layer, "forward")
        yield
