"""Published weights of small size, with real numbers: outputs stay what they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from calico.weights.files import WeightFiles
from calico.weights.initial import Initial, initial_model
from mixedparts.errors import InputError, UsageError
from tests.factories import published_weights as published
from tests.factories.micro_model import micro_tokenizer
from tests.factories.published_weight_files import plain_tokenizer, small, write


class TestOutputs:
    def test_instructblip_dinov2_and_native_sam_say_what_they_said(self, parts: Any) -> None:
        config, made, paths = parts
        start = initial_model(config, paths)
        model = start.model
        side = (2, 3, 32, 32)
        pixels = torch.randn(side)
        with torch.no_grad():
            seen = made["blip"].vision_model(pixels).last_hidden_state
            torch.testing.assert_close(model.encoders.vision(pixels).last_hidden_state, seen)
            queries = made["blip"].query_tokens.expand(2, -1, -1)
            asked = made["blip"].qformer.encoder(
                made["blip"].qformer.embeddings.layernorm(queries),
                encoder_hidden_states=seen,
                query_length=queries.shape[1],
            )
            expected = made["blip"].language_projection(asked.last_hidden_state)
            torch.testing.assert_close(model.bridge(seen), expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                model.encoders.encode_semantic(pixels),
                made["dino"](pixels).last_hidden_state[:, 1:],
            )
            torch.testing.assert_close(
                model.encoders.sam(pixels).last_hidden_state,
                made["sam"].image_encoder(pixels),
                atol=1e-4,
                rtol=1e-4,
            )
            tokens = torch.tensor([[0, 5, 6, 7, 4]])
            known = len(plain_tokenizer())
            torch.testing.assert_close(
                model.language(tokens).logits[..., :known],
                made["blip"].language_model(tokens).logits[..., :known],
            )

    def test_masks_are_those_of_segment_anything(self, parts: Any) -> None:
        config, made, paths = parts
        model = initial_model(config, paths).model
        embedding, prompt = torch.randn(1, 16, 4, 4), torch.randn(1, 16)
        theirs = made["sam"]
        with torch.no_grad():
            masks, _ = theirs.mask_decoder(
                image_embeddings=embedding,
                image_pe=theirs.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=prompt[:, None],
                dense_prompt_embeddings=theirs.prompt_encoder.no_mask_embed.weight.reshape(
                    1, -1, 1, 1
                ).expand_as(embedding),
                multimask_output=False,
            )
            ours = model.grounding.decode(prompt, embedding, torch.tensor([0]))
        torch.testing.assert_close(ours, masks[:, 0], atol=1e-4, rtol=1e-3)

    def test_new_tokens_get_rows_of_their_own_that_alone_are_trained(self, parts: Any) -> None:
        config, made, paths = parts
        start = initial_model(config, paths)
        known = len(plain_tokenizer())
        assert start.config.language.vocabulary == len(start.tokenizer) == known + 4
        ids = start.model.ids
        assert len(ids.segments.tags[0]) > 1, "tags stay plain text"
        table = start.model.language.get_input_embeddings()
        with torch.no_grad():
            rows = table(torch.arange(known + 4))
        theirs = made["blip"].language_model.get_input_embeddings().weight[:known]
        torch.testing.assert_close(rows[:known], theirs)
        torch.testing.assert_close(rows[ids.segments.seg], theirs.mean(0))
        deltas = [w for n, w in start.model.named_parameters() if "trainable_tokens" in n]
        assert [tuple(w.shape) for w in deltas if w.requires_grad] == [(3, 32)] * 2

    def test_lavis_weights_give_the_same_as_instructblips(self, parts: Any, tmp_path: Path) -> None:
        """EVA-CLIP and Q-Former in LAVIS's names, written back from a filled model."""
        config, made, paths = parts
        state = published.lavis(config)
        state.update(
            {f"llm_proj.{k}": v for k, v in made["blip"].language_projection.state_dict().items()}
        )
        path = tmp_path / "lavis.pth"
        torch.save({"model": state}, path)
        model = initial_model(config, [*paths, path]).model
        layer = model.encoders.vision.encoder.layers[0].self_attn
        wide = config.vision.hidden_size
        block = "visual_encoder.blocks.0.attn."
        assert torch.equal(layer.qkv.bias[:wide], state[block + "q_bias"])
        assert not layer.qkv.bias[wide : 2 * wide].any()
        assert torch.equal(layer.qkv.bias[2 * wide :], state[block + "v_bias"])
        assert torch.equal(model.bridge.queries, state["query_tokens"])
        query = "encoder.layer.0.crossattention.{}.query.weight"
        assert torch.equal(
            model.bridge.qformer.state_dict()[query.format("attention")],
            state["Qformer.bert." + query.format("self")],
        )

    @pytest.mark.parametrize("swiglu", [False, True])
    def test_dinov2_of_its_repository_gives_the_same(
        self, parts: Any, tmp_path: Path, swiglu: bool
    ) -> None:
        _, _, paths = parts
        config = small(semantic={"swiglu": swiglu})
        dino = published.dinov2(config)
        path = tmp_path / "dinov2_vitb14_pretrain.pth"
        torch.save(published.dinov2_hub(dino, config), path)
        model = initial_model(config, [paths[0], path, paths[2]]).model
        pixels = torch.randn(1, 3, 32, 32)
        with torch.no_grad():
            expected = dino(pixels).last_hidden_state[:, 1:]
            torch.testing.assert_close(model.encoders.encode_semantic(pixels), expected)

    def test_glamm_gives_language_masks_and_seg_projection(
        self, parts: Any, tmp_path: Path
    ) -> None:
        _, _, paths = parts
        config = small(trained={"seg_projection": False}, language={"new_token_rows": "inherited"})
        tokenizer = micro_tokenizer()
        state = published.glamm(config, len(tokenizer))
        folder = write(tmp_path / "glamm", state, tokenizer)
        start = initial_model(config, [paths[0], paths[1], folder])
        mine = start.model.state_dict()
        for ours, theirs in (
            ("grounding.projection.0.weight", "model.text_hidden_fcs.0.0.weight"),
            ("grounding.projection.2.bias", "model.text_hidden_fcs.0.2.bias"),
            ("language.lm_head.weight", "lm_head.weight"),
            (
                "grounding.mask_decoder.iou_token.weight",
                "model.grounding_encoder.mask_decoder.iou_token.weight",
            ),
        ):
            assert torch.equal(mine[ours], state[theirs])
        assert not any(w.requires_grad for w in start.model.grounding.projection.parameters())
        said = "\n".join(start.report)
        assert "a later --init holds it as well" in said
        assert "GLaMM's region encoder" in said

    def test_the_published_calico_layout_needs_nothing_else(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        config = small(trained={"seg_projection": False}, language={"new_token_rows": "inherited"})
        tokenizer = micro_tokenizer()
        state = published.calico(config, len(tokenizer))
        by_layer = {
            name.replace("_layers.0.", "_layers.11.").replace("_layers.1.", "_layers.22."): value
            for name, value in state.items()
        }
        by_layer = {
            name if "_layers.11." in name or "_layers.22." in name else key: value
            for (name, value), key in zip(by_layer.items(), state, strict=True)
        }
        models = []
        for number, one in enumerate((state, by_layer)):
            folder = write(tmp_path / str(number), one, tokenizer)
            models.append(initial_model(config, [folder]).model.state_dict())
        for name, value in models[0].items():
            if "lora_" not in name:
                assert torch.equal(value, models[1][name]), name
        assert torch.equal(
            models[0]["correspondence.adaptive.1.reintegration.weight"],
            state["model.reintegration_layers.1.weight"],
        )


def test_the_reader_of_the_presence_loss_is_new(parts: Any) -> None:
    config, _, paths = parts
    wanted = replace(config, loss=replace(config.loss, presence=1.0))
    model = initial_model(wanted, paths).model
    width = config.language.hidden_size
    assert model.presence is not None
    assert model.presence.read.weight.shape == (2 * width, width)
    assert model.presence.read.weight.requires_grad
    assert model.presence.read.weight.std() > 0


class TestRefusals:
    def test_one_renamed_key_is_named(self, parts: Any, tmp_path: Path) -> None:
        config, made, paths = parts
        state = dict(made["dino"].state_dict())
        state["layernorm.wieght"] = state.pop("layernorm.weight")
        renamed = write(tmp_path / "renamed", state)
        with pytest.raises(InputError) as raised:
            initial_model(config, [paths[0], renamed, paths[2]])
        assert "unexpected: layernorm.wieght" in str(raised.value)
        assert "missing: encoders.semantic.layernorm.weight" in str(raised.value)

    def test_a_key_of_no_layout_is_named(self, parts: Any, tmp_path: Path) -> None:
        config, made, paths = parts
        state = dict(made["blip"].state_dict()) | {"audio_tower.weight": torch.zeros(2)}
        other = write(tmp_path / "other", state, plain_tokenizer())
        with pytest.raises(InputError, match=r"audio_tower\.weight"):
            initial_model(config, [other, *paths[1:]])

    def test_a_missing_part_is_named(self, parts: Any) -> None:
        config, _, paths = parts
        with pytest.raises(InputError, match=r"missing: encoders\.sam\."):
            initial_model(config, paths[:2])

    def test_another_shape_is_named(self, parts: Any) -> None:
        config, _, paths = parts
        with pytest.raises(InputError, match=r"of another shape: .*fc1"):
            initial_model(replace(config, vision=replace(config.vision, mlp_size=40)), paths)

    def test_a_frozen_random_seg_projection_is_refused(self, parts: Any) -> None:
        config, _, paths = parts
        frozen = replace(config, trained=replace(config.trained, seg_projection=False))
        with pytest.raises(InputError, match=r"grounding\.projection") as raised:
            initial_model(frozen, paths)
        assert "trained: {seg_projection: true}" in str(raised.value.hint)

    def test_new_tokens_without_trained_rows_are_refused(self, parts: Any) -> None:
        config, _, paths = parts
        inherited = replace(config, language=replace(config.language, new_token_rows="inherited"))
        with pytest.raises(InputError, match="new_token_rows"):
            initial_model(inherited, paths)

    def test_another_norm_or_head_count_is_refused(self, parts: Any) -> None:
        _, _, paths = parts
        config = small(language={"norm_eps": 1e-6})
        other = {"text_config": {"rms_norm_eps": 1e-5, "num_attention_heads": 4}}
        (paths[0] / "config.json").write_text(json.dumps(other))
        with pytest.raises(UsageError) as raised:
            initial_model(config, paths)
        assert "language.norm_eps: 1e-05 there" in str(raised.value)
        assert "language.heads: 4 there, 2 here" in str(raised.value)

    def test_nothing_is_unpickled(self, tmp_path: Path) -> None:
        class Harm:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "harm",)

        path = tmp_path / "weights.pth"
        torch.save({"image_encoder.x": torch.zeros(1), "y": Harm()}, path)
        with pytest.raises(InputError, match=r"weights\.pth"):
            WeightFiles(path)
        assert not (tmp_path / "harm").exists()

    @pytest.mark.parametrize("content", [b"", b"rubbish", b"\x80\x04K\x01."])
    def test_a_broken_file_is_one_message(self, tmp_path: Path, content: bytes) -> None:
        for name in ("weights.pth", "weights.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match="weights"):
                WeightFiles(tmp_path / name)

    def test_shards_are_read_by_their_index(self, parts: Any, tmp_path: Path) -> None:
        config, made, paths = parts
        state = {n: v.detach().clone() for n, v in made["dino"].state_dict().items()}
        folder = tmp_path / "sharded"
        folder.mkdir()
        names = sorted(state)
        shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
        for shard, held in shards.items():
            save_file({name: state[name] for name in held}, folder / shard)
        index = {name: shard for shard, held in shards.items() for name in held}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        assert set(WeightFiles(folder)) == set(names)
        whole = initial_model(config, paths).model.encoders.semantic.state_dict()
        pieces = initial_model(config, [paths[0], folder, paths[2]]).model.encoders.semantic
        assert all(torch.equal(value, whole[n]) for n, value in pieces.state_dict().items())
        (folder / "b.safetensors").unlink()
        with pytest.raises(InputError, match=r"lacks b\.safetensors"):
            WeightFiles(folder)


def test_bf16_is_kept_for_what_is_frozen(parts: Any) -> None:
    config, _, paths = parts
    execution = replace(config.execution, precision="bf16")
    start: Initial = initial_model(replace(config, execution=execution), paths)
    for name, weight in start.model.named_parameters():
        exact = weight.requires_grad or name.endswith("positional_embedding")
        assert weight.dtype is (torch.float32 if exact else torch.bfloat16), name
    assert not any(buffer.is_meta for buffer in start.model.buffers())
