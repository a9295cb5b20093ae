"""Choices of the architecture: ablations, language model families, encoders, and arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from calico.config.calico import CalicoConfig, ExecutionConfig, SemanticEncoderConfig
from calico.config.presets import DINOV2, PRESETS, preset, seven_b
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.generation import generate
from calico.model.inputs import TokenIds, TrainingBatch
from calico.model.language import decoder_layers
from calico.model.precision import arithmetic, store
from calico.model.segments import SegVocabulary
from calico.model.vision import ImageEncoders, ImageInputs, build_semantic_encoder, unread_tokens
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import token_ids
from mixedparts.errors import InputError, UsageError
from tests.factories.micro_batches import mask_images
from tests.factories.micro_model import (
    micro_config,
    micro_model,
    micro_tokenizer,
    random_cams,
    random_features,
)

QUESTION = "Which object do both pictures contain?"
ANSWER = "Both pictures contain <p> a mug </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."
ABLATIONS: dict[str, dict[str, Any]] = {
    "no Q-Former": {"qformer": {"kind": "linear"}},
    "no DINO": {"correspondence": {"extraction": False}},
    "no CEM": {"correspondence": {"extraction": False, "requery": False}},
    "no CAM": {"correspondence": {"conditioning": False}},
    "no CEM, no CAM": {"correspondence": {"layers": []}},
    "no Q-Former, no CEM": {
        "qformer": {"kind": "linear"},
        "correspondence": {"extraction": False, "requery": False},
    },
    "k=1": {"correspondence": {"layers": [2]}},
    "k=4": {"correspondence": {"layers": [0, 1, 2, 3]}},
    "residual and norm": {"correspondence": {"residual": True, "norm": True}},
}


def batch_for(config: CalicoConfig, answers: tuple[str, ...] = (ANSWER,)) -> TrainingBatch:
    prompts = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
    tokens, answer = prompts.collate([prompts.sample(QUESTION, text, 2) for text in answers])
    grid, count = config.sam.mask_size, sum(text.count("[SEG]") for text in answers)
    noise = torch.Generator().manual_seed(0)
    return TrainingBatch(
        tokens=tokens,
        answer=answer,
        features=random_features(2 * len(answers), config),
        images=2,
        masks=(torch.rand(count, grid, grid, generator=noise) > 0.6).float(),
        mask_image=mask_images(answers),
        extents=torch.tensor([[grid, grid]] * (2 * len(answers))),
    )


def states(model: Calico, batch: TrainingBatch) -> torch.Tensor:
    last = batch.answer.int().argmax(1) - 1
    with torch.no_grad():
        return model.hidden_states(batch.tokens, batch.features, batch.images, last)


class TestAblations:
    @pytest.mark.parametrize("changes", ABLATIONS.values(), ids=ABLATIONS.keys())
    def test_it_trains_and_every_trained_weight_takes_part(self, changes: dict[str, Any]) -> None:
        model, config = micro_model(**changes)
        if model.correspondence is not None:
            random_cams(model)
        model.train()
        model(batch_for(config)).total.backward()
        lost = [
            name
            for name, weight in model.named_parameters()
            if weight.requires_grad and weight.grad is None and "iou_prediction_head" not in name
        ]
        assert not lost

    def test_without_dino_no_semantic_encoder_is_built_or_read(self) -> None:
        model, config = micro_model(**ABLATIONS["no DINO"])
        random_cams(model)
        assert model.encoders.semantic is None
        batch = batch_for(config)
        other = replace(batch.features, semantic=torch.randn_like(batch.features.semantic))
        assert torch.equal(states(model, batch), states(model, replace(batch, features=other)))
        side = (2, 3, config.vision.image_size, config.vision.image_size)
        features = model.encoders(ImageInputs(*(torch.randn(side) for _ in range(3))))
        assert features.semantic.shape == (2, 0, 0)

    def test_without_cem_only_the_hidden_state_is_fused(self) -> None:
        model, config = micro_model(**ABLATIONS["no CEM"])
        random_cams(model)
        batch = batch_for(config)
        asked: list[int] = []
        assert model.bridge.qformer is not None
        model.bridge.qformer.register_forward_hook(lambda *_: asked.append(1))
        before = states(model, batch)
        assert len(asked) == 1, "the Q-Former serves the prompt alone"
        last = batch.answer.int().argmax(1) - 2
        with torch.no_grad():
            moved = model.hidden_states(batch.tokens, batch.features, 2, last)
        assert not torch.equal(before, moved)

    def test_without_cam_the_prompt_conditions_nothing(self) -> None:
        model, config = micro_model(**ABLATIONS["no CAM"])
        random_cams(model)
        batch = batch_for(config)
        last = batch.answer.int().argmax(1) - 2
        with torch.no_grad():
            moved = model.hidden_states(batch.tokens, batch.features, 2, last)
        assert torch.equal(states(model, batch), moved)

    def test_without_qformer_every_patch_is_a_token(self) -> None:
        model, config = micro_model(**ABLATIONS["no Q-Former"])
        assert config.image_tokens == 16
        features = random_features(2, config)
        with torch.no_grad():
            tokens = model.bridge(features.vision)
            expected = model.bridge.projection(features.vision[:, 1:])
        torch.testing.assert_close(tokens, expected)

    def test_settings_that_contradict_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"correspondence\.requery"):
            micro_config(correspondence={"requery": False})
        with pytest.raises(UsageError, match=r"correspondence\.conditioning"):
            micro_config(
                correspondence={"extraction": False, "requery": False, "conditioning": False}
            )


class TestLanguageModels:
    @pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
    def test_any_llama_family_model_serves(self, family: str) -> None:
        language = {"family": family, "kv_heads": 1, "tuning": "lora", "norm_eps": 1e-5}
        language |= {"vocabulary": len(micro_tokenizer())}
        model, config = micro_model(language=language)
        random_cams(model)
        assert model.language.config.model_type == family
        assert model.language.config.rms_norm_eps == 1e-5
        prompts = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
        batch = prompts.batch([QUESTION], 2)
        features = random_features(2, config)
        generated = generate(model, batch, features, 6)
        length = batch.tokens.shape[1]
        with torch.no_grad():
            hidden = model.hidden_states(
                torch.cat([batch.tokens, generated.tokens], 1),
                features,
                2,
                torch.tensor([length - 1]),
            )
        expected = model.language.lm_head(hidden[:, length - 1 : -1]).argmax(-1)
        assert torch.equal(expected, generated.tokens)

    def test_zeroed_modules_give_the_plain_language_model_bit_for_bit(self) -> None:
        model, config = micro_model()
        batch = batch_for(config)
        with torch.no_grad():
            embedded = model.language.get_input_embeddings()(batch.tokens)
            shown = model.bridge(batch.features.vision)
            embedded[batch.tokens == model.ids.image] = shown.flatten(0, 1)
            plain = model.language(inputs_embeds=embedded, output_hidden_states=True)
        assert torch.equal(states(model, batch), plain.hidden_states[-1])
        random_cams(model)
        assert not torch.equal(states(model, batch), plain.hidden_states[-1])

    def test_heads_that_do_not_share_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"language\.kv_heads"):
            micro_config(language={"kv_heads": 3})


class TestSemanticEncoder:
    @pytest.mark.parametrize("registers", [0, 4])
    @pytest.mark.parametrize("class_token", [False, True])
    def test_registers_are_never_read(self, registers: int, class_token: bool) -> None:
        config = SemanticEncoderConfig(
            28, 28, 14, 32, 1, 2, registers=registers, class_token=class_token
        )
        torch.manual_seed(0)
        encoder = build_semantic_encoder(config).eval()
        encoders = ImageEncoders(encoder, encoder, encoder, unread_tokens(config))
        pixels = torch.randn(2, 3, 28, 28)
        with torch.no_grad():
            whole = encoder(pixels).last_hidden_state
            read = encoders.encode_semantic(pixels)
        assert whole.shape[1] == 1 + registers + 4
        kept = [0] * class_token + list(range(1 + registers, 1 + registers + 4))
        assert torch.equal(read, whole[:, kept])

    @pytest.mark.parametrize("name", [name for name in PRESETS if name != "tiny"])
    def test_every_size_builds_without_memory(self, name: str) -> None:
        ids = TokenIds(0, 2, 3, SegVocabulary(4, ((5,), (6,))))
        config = preset(name)
        config = replace(config, semantic=replace(config.semantic, registers=4))
        with torch.device("meta"):
            model = build_model(config, ids)
        assert all(weight.is_meta for weight in model.parameters())
        assert set(DINOV2) == {"base", "large", "giant"}
        register = model.encoders.semantic.embeddings.register_tokens  # type: ignore[union-attr]
        assert register.shape == (1, 4, config.semantic.hidden_size)


class TestExecution:
    def test_checkpointing_changes_no_gradient(self) -> None:
        found = []
        for switched in (False, True):
            model, config = micro_model(
                execution={"activation_checkpointing": switched},
                language={"tuning": "lora", "lora_dropout": 0.4, "vocabulary": 300},
            )
            random_cams(model)
            model.train()
            torch.manual_seed(7)
            model(batch_for(config)).total.backward()
            grads = {n: w.grad for n, w in model.named_parameters() if w.grad is not None}
            assert not any("forward" in vars(layer) for layer in decoder_layers(model.language))
            found.append(grads)
        assert found[0].keys() == found[1].keys()
        for name, grad in found[0].items():
            torch.testing.assert_close(grad, found[1][name], msg=name)

    def test_checkpointing_keeps_less(self) -> None:
        kept = []
        for switched in (False, True):
            model, config = micro_model(execution={"activation_checkpointing": switched})
            model.train()
            count = 0

            def pack(value: torch.Tensor) -> torch.Tensor:
                nonlocal count
                count += value.numel()
                return value

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
                model(batch_for(config))
            kept.append(count)
        assert kept[1] < kept[0]

    def test_bf16_keeps_trained_weights_in_fp32_and_stays_close(self) -> None:
        changes = {"language": {"tuning": "lora", "vocabulary": 300}, "qformer": {"layers": 2}}
        model, config = micro_model(**changes, trained={"qformer": False})
        random_cams(model)
        batch = batch_for(config)
        exact = model(batch).total
        execution = ExecutionConfig("bf16", "sdpa", True)
        store(model, execution)
        assert model.encoders.vision.post_layernorm.weight.dtype is torch.bfloat16
        model.train()
        with arithmetic(execution, torch.device("cpu")):
            rounded = model(batch).total
        rounded.backward()
        assert rounded.dtype is torch.float32
        assert abs(rounded.item() - exact.item()) < 0.03 * exact.item()
        for weight in model.parameters():
            if weight.requires_grad:
                assert weight.dtype is torch.float32
                assert weight.grad is None or weight.grad.dtype is torch.float32
        code = model.grounding.prompt_encoder.shared_embedding.positional_embedding
        assert code.dtype is torch.float32

    def test_eager_attention_agrees_with_sdpa(self) -> None:
        one, config = micro_model()
        other, _ = micro_model(execution={"attention": "eager"})
        assert other.language.config._attn_implementation == "eager"
        assert other.encoders.vision.config._attn_implementation == "eager"
        batch = batch_for(config)
        torch.testing.assert_close(states(one, batch), states(other, batch), atol=1e-5, rtol=1e-4)
        side = config.vision.image_size
        inputs = ImageInputs(*(torch.randn(2, 3, side, side) for _ in range(3)))
        with torch.no_grad():
            first, second = one.encoders(inputs), other.encoders(inputs)
        for name in ("vision", "semantic", "sam"):
            torch.testing.assert_close(
                getattr(first, name), getattr(second, name), atol=1e-5, rtol=1e-4
            )


def test_swapping_the_images_swaps_the_tags_of_the_answer() -> None:
    """What is learnt about a picture follows the picture, not its place."""
    model, config = micro_model()
    answers = [f"<p> a mug </p> [SEG] (IMAGE{number})." for number in (1, 2)]
    batch = batch_for(config, tuple(answers))
    straight = batch.features.select(torch.tensor([0, 1]))
    swapped = batch.features.select(torch.tensor([1, 0]))
    batch = replace(batch, features=batch.features.select(torch.tensor([0, 1, 1, 0])))
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=3e-3)
    for _ in range(800):
        optimizer.zero_grad()
        text = model(batch).text
        if text.item() < 0.01:
            break
        text.backward()
        optimizer.step()
    prompts = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
    asked = prompts.batch([QUESTION], 2)
    for features, expected in ((straight, 0), (swapped, 1)):
        segments = generate(model, asked, features, 20).segments(model, 2)
        assert segments.image.tolist() == [expected]


class TestTags:
    @staticmethod
    def tokenizer(*special: str) -> PreTrainedTokenizerFast:
        """Return one that knows characters only, and no tag."""
        letters = sorted(set("▁[]()<>/.,ABCDEFGHIMSabcdefghijklmnopqrstuvwxyz0123456789"))
        vocabulary = {letter: index for index, letter in enumerate(letters)}
        backend = Tokenizer(models.BPE(vocabulary, []))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
        return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=backend, extra_special_tokens=list(special)
        )

    def test_a_pretrained_tokenizer_has_tags_of_plain_text(self) -> None:
        tokenizer = self.tokenizer("[SEG]", "<image>", "<p>", "</p>", "<pad>", "</s>")
        ids = token_ids(tokenizer, 2)
        one, two = ids.segments.tags
        assert len(one) == len(two) > 3
        assert one[:-1] == two[:-1]
        text = tokenizer("x [SEG] (IMAGE2), y [SEG] (IMAGE1).", add_special_tokens=False).input_ids
        at = text.index(ids.segments.seg) + 1
        assert tuple(text[at : at + len(two)]) == two
        assert len(ids.new) == 3, "[SEG], <p>, </p>"
        assert ids.image not in ids.new

    def test_a_tokenizer_without_seg_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"\[SEG\], <image>"):
            token_ids(self.tokenizer(), 2)


def test_the_7b_prompt_ends_without_a_space() -> None:
    """A sentencepiece tokenizer would make a token of it, and put another before the answer."""
    assert not seven_b().prompt.assistant.endswith(" ")
