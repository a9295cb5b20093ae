"""Published models of tiny size in the folders, files and configurations in which they ship.

The values in each `config.json` are those of the published one where shapes do not show them (norm
constants, rotary bases, windows), so that models disagree as the real ones do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from calico.config.yaml_io import override
from tests.factories import published_weights as published
from tests.factories.published_weight_files import bert_like, small
from tests.factories.sentencepieces import PIECES, instructblip_files, llama_files, qwen_files

State = dict[str, Tensor]
_GLAMM_TOKENS = ("<im_start>", "<im_end>", "<bbox>", "<point>", "[SEG]", "<p>", "</p>")
_LISA_TOKENS = ("[PAD]", "[SEG]", "<im_start>", "<im_end>")


class PublishedFolders:
    """Writes each model once, when a test asks for it.

    Args:
        root: folder of all.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = small(semantic={"registers": None})
        self.qwen_config = override(
            self.config,
            {"language": {"family": "qwen2", "kv_heads": 1}, "trained": {"projection": True}},
            "test",
        )

    def paths(self, names: str) -> list[Path]:
        """Return the paths of models, written where they are not there yet."""
        return [self.path(name) for name in names.split()]

    def path(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            torch.manual_seed(len(name))
            self._makers[name](path)
        return path

    @cached_property
    def _makers(self) -> Mapping[str, Callable[[Path], None]]:
        return {
            "instructblip-vicuna-7b": self._instructblip,
            "GLaMM": self._glamm,
            "LISA": self._lisa,
            "CALICO": self._calico,
            "vicuna-7b-v1.5": lambda path: self._vicuna(path, 1e-5, 4096),
            "vicuna-7b-v1.1": lambda path: self._vicuna(path, 1e-6, 2048),
            "dinov2-base": lambda path: self._dinov2(path, 0),
            "dinov2-with-registers-base": lambda path: self._dinov2(path, 4),
            "dinov2_vitb14_reg4_pretrain.pth": self._dinov2_hub,
            "dinov2_training.pth": self._dinov2_training,
            "sam_vit_h_4b8939.pth": self._sam_file,
            "sam_compiled.pth": self._sam_compiled,
            "sam-vit-base": self._sam_folder,
            "eva_vit_g.pth": self._eva,
            "instruct_blip_vicuna7b_trimmed.pth": self._trimmed,
            "blip2-opt-2.7b": self._blip2,
            "Qwen2.5-1.5B-Instruct": self._qwen,
        }

    def _instructblip(self, path: Path) -> None:
        model = published.instructblip(self.config, PIECES + 1)
        config = {
            "model_type": "instructblip",
            "architectures": ["InstructBlipForConditionalGeneration"],
            "num_query_tokens": self.config.qformer.queries,
            "text_config": self._llama_values(1e-6, 2048) | {"pad_token_id": 32000},
            "vision_config": self._vision_values(),
            "qformer_config": self._qformer_values(),
        }
        sharded(path, model.state_dict(), config)
        instructblip_files(path)
        reader = bert_like()
        reader.save_pretrained(str(path / "qformer_tokenizer"))

    def _glamm(self, path: Path) -> None:
        state = published.glamm(self.config, PIECES + len(_GLAMM_TOKENS))
        # Older transformers wrote neither `rope_theta` nor `rope_scaling`.
        values = self._llama_values(1e-5, 4096) | {"model_type": "llava", "with_region": True}
        del values["rope_theta"]
        binary(path, state, values)
        llama_files(path, _GLAMM_TOKENS, legacy=False)

    def _lisa(self, path: Path) -> None:
        # One row more than its tokenizer has tokens, as in the published files.
        state = published.glamm(self.config, PIECES + len(_LISA_TOKENS) + 1)
        state = {name: value for name, value in state.items() if "region_encoder" not in name}
        state = {n.replace("grounding_encoder", "visual_model"): v for n, v in state.items()}
        values = self._llama_values(1e-6, 2048) | {"model_type": "llava"}
        binary(path, state, values, torch.bfloat16)
        llama_files(path, _LISA_TOKENS, pad="[PAD]")

    def _calico(self, path: Path) -> None:
        state = published.calico(self.config, PIECES + len(_GLAMM_TOKENS))
        sharded(path, state, self._llama_values(1e-5, 4096) | {"model_type": "calico"})
        llama_files(path, _GLAMM_TOKENS, legacy=False)

    def _vicuna(self, path: Path, eps: float, positions: int) -> None:
        state = dict(published.llama(self.config, PIECES).state_dict())
        for number in range(self.config.language.layers):
            state[f"model.layers.{number}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
        values = self._llama_values(eps, positions) | {"rope_scaling": None}
        binary(path, state, values)
        llama_files(path, legacy=False if eps == 1e-5 else None)

    def _dinov2(self, path: Path, registers: int) -> None:
        config = small(semantic={"registers": registers})
        chosen = config.semantic
        values = {
            "model_type": "dinov2_with_registers" if registers else "dinov2",
            "num_attention_heads": chosen.heads,
            "layer_norm_eps": 1e-6,
            "hidden_act": "gelu",
            "patch_size": chosen.patch_size,
            "image_size": chosen.position_size,
        }
        path.mkdir()
        _save(published.dinov2(config).state_dict(), path / "model.safetensors")
        _write(path / "config.json", values)

    def _hub_state(self, registers: int) -> State:
        config = small(semantic={"registers": registers})
        return published.dinov2_hub(published.dinov2(config), config)

    def _dinov2_hub(self, path: Path) -> None:
        torch.save(self._hub_state(4), path)

    def _dinov2_training(self, path: Path) -> None:
        """What DINOv2's own training writes: student and teacher with heads."""
        weights = {f"backbone.{name}": value for name, value in self._hub_state(4).items()}
        weights["dino_head.mlp.0.weight"] = torch.randn(4, 4)
        weights["ibot_head.last_layer.weight_g"] = torch.randn(4, 1)
        student = {name: torch.zeros_like(value) for name, value in weights.items()}
        torch.save({"student": student, "teacher": weights, "iteration": 625}, path)

    def _sam_file(self, path: Path) -> None:
        torch.save(published.segment_anything(self.config.sam).state_dict(), path)

    def _sam_compiled(self, path: Path) -> None:
        """A fine-tuned SAM, compiled and trained on several GPUs, saved by its trainer."""
        state = published.segment_anything(self.config.sam).state_dict()
        wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
        torch.save({"epoch": 3, "state_dict": {"model": wrapped}, "lr": [1e-4]}, path)

    def _sam_folder(self, path: Path) -> None:
        chosen = self.config.sam
        values = {
            "model_type": "sam",
            "vision_config": {
                "num_attention_heads": chosen.heads,
                "window_size": chosen.window,
                "global_attn_indexes": list(chosen.global_layers),
                "layer_norm_eps": 1e-6,
                "hidden_act": "gelu",
            },
            "mask_decoder_config": {"num_attention_heads": chosen.decoder_heads},
        }
        path.mkdir()
        _save(published.sam(self.config).state_dict(), path / "model.safetensors")
        _write(path / "config.json", values)

    def _eva(self, path: Path) -> None:
        state = published.lavis(self.config)
        start = "visual_encoder."
        seen = {n.removeprefix(start): v.half() for n, v in state.items() if n.startswith(start)}
        torch.save(seen, path)

    def _trimmed(self, path: Path) -> None:
        state = published.lavis(self.config, text=True)
        state = {n: v for n, v in state.items() if not n.startswith("visual_encoder.")}
        width, size = self.config.language.hidden_size, self.config.qformer.hidden_size
        state |= {"llm_proj.weight": torch.randn(width, size), "llm_proj.bias": torch.randn(width)}
        torch.save({"model": state}, path)

    def _blip2(self, path: Path) -> None:
        seen, asked = self._vision_values(), self._qformer_values()
        text = {"model_type": "opt", "num_attention_heads": 32, "hidden_size": 2560}
        config = {"vision_config": seen, "qformer_config": asked, "text_config": text}
        state = published.blip2(self.config).state_dict()
        sharded(path, state, config | {"model_type": "blip-2"})
        _write(path / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})

    def _qwen(self, path: Path) -> None:
        path.mkdir()
        tokens = qwen_files(path)
        chosen = self.config.language
        values = {
            "model_type": "qwen2",
            "num_attention_heads": chosen.heads,
            "num_key_value_heads": 1,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "max_window_layers": 21,
            "use_sliding_window": False,
            "tie_word_embeddings": True,
            "hidden_act": "silu",
        }
        # More rows than tokens, as in Qwen's files.
        _save(published.qwen2(self.qwen_config, tokens + 11), path / "model.safetensors")
        _write(path / "config.json", values)

    def _llama_values(self, eps: float, positions: int) -> dict[str, Any]:
        chosen = self.config.language
        return {
            "model_type": "llama",
            "num_attention_heads": chosen.heads,
            "num_key_value_heads": chosen.heads,
            "rms_norm_eps": eps,
            "rope_theta": 10000.0,
            "max_position_embeddings": positions,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }

    def _vision_values(self) -> dict[str, Any]:
        chosen = self.config.vision
        return {
            "hidden_size": chosen.hidden_size,
            "intermediate_size": chosen.mlp_size,
            "num_hidden_layers": chosen.layers,
            "num_attention_heads": chosen.heads,
            "image_size": chosen.image_size,
            "patch_size": chosen.patch_size,
            "layer_norm_eps": 1e-6,
            "hidden_act": "gelu",
            "qkv_bias": True,
        }

    def _qformer_values(self) -> dict[str, Any]:
        chosen = self.config.qformer
        return {
            "vocab_size": chosen.vocabulary,
            "hidden_size": chosen.hidden_size,
            "intermediate_size": chosen.mlp_size,
            "num_hidden_layers": chosen.layers,
            "num_attention_heads": chosen.heads,
            "cross_attention_frequency": chosen.cross_attention_every,
            "encoder_hidden_size": self.config.vision.hidden_size,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
        }


def sharded(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write two safetensors shards with their index."""
    path.mkdir()
    shards = _halves(state, "model-0000{}-of-00002.safetensors")
    for name, held in shards.items():
        _save(held, path / name)
    _index(path / "model.safetensors.index.json", shards)
    _write(path / "config.json", config)


def binary(
    path: Path,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write two shards of torch's own format with their index."""
    path.mkdir()
    shards = _halves(state, "pytorch_model-0000{}-of-00002.bin")
    for name, held in shards.items():
        torch.save({key: value.detach().to(dtype) for key, value in held.items()}, path / name)
    _index(path / "pytorch_model.bin.index.json", shards)
    _write(path / "config.json", config)


def _halves(state: Mapping[str, Tensor], pattern: str) -> dict[str, State]:
    names = list(state)
    middle = len(names) // 2
    halves = (names[:middle], names[middle:])
    return {
        pattern.format(number): {name: state[name] for name in held}
        for number, held in enumerate(halves, 1)
    }


def _index(path: Path, shards: Mapping[str, State]) -> None:
    placed = {name: shard for shard, held in shards.items() for name in held}
    size = sum(value.nbytes for held in shards.values() for value in held.values())
    _write(path, {"metadata": {"total_size": size}, "weight_map": placed})


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    plain = {name: value.detach().clone().contiguous() for name, value in state.items()}
    save_file(plain, path, metadata={"format": "pt"})


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
