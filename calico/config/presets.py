"""The named configurations: the paper's 7B model, one for a single GPU, one for two CPU cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from calico.config.calico import (
    AugmentConfig,
    CalicoConfig,
    CorrespondenceConfig,
    ExecutionConfig,
    GenerationConfig,
    GlobalEncoderConfig,
    LanguageConfig,
    LossConfig,
    PretrainingConfig,
    PromptConfig,
    QFormerConfig,
    SamConfig,
    SemanticEncoderConfig,
    TrainedParts,
    TrainingConfig,
)
from mixedparts.errors import UsageError, near_names

# The published DINOv2 encoders, with 4 registers; `registers=0` gives the earlier ones.
DINOV2 = {
    "base": SemanticEncoderConfig(),
    "large": SemanticEncoderConfig(hidden_size=1024, layers=24, heads=16),
    "giant": SemanticEncoderConfig(hidden_size=1536, layers=40, heads=24, swiglu=True),
}


def seven_b() -> CalicoConfig:
    """Return the paper's model, EVA-CLIP-g, DINOv2-B, Vicuna-7B with LoRA, SAM ViT-H, and training.

    Every value that the paper or the code of its family states is taken from there, the paper's
    before the code's; `docs/fidelity.md` has all of them with their sources. What is set here are
    those that differ from the defaults.
    """
    return CalicoConfig(
        name="7b",
        # The paper writes focal and gives neither gamma nor alpha: those of the focal loss's own
        # paper are the defaults. LISA, GLaMM and the fork compute BCE.
        loss=LossConfig(mask_kind="focal", resolution="original"),
        prompt=PromptConfig(
            lead="The {images} provide an overview of the pictures.",
            lead_one="The {images} provides an overview of the picture.",
            listing="and",
        ),
        # All samples of the same two images in one conversation, up to common and unique parts of
        # three pairs of classes, and a crop of EVA's input.
        training=TrainingConfig(
            multi_turn=1.0, max_turns=6, augment=AugmentConfig(global_crop=0.5), loader_workers=4
        ),
    )


def seven_b_with(dino: str) -> CalicoConfig:
    """Return the 7B model with another size of `DINOV2`."""
    return replace(seven_b(), name=f"7b-dinov2-{dino}", semantic=DINOV2[dino])


def two_b() -> CalicoConfig:
    """Return the paper's architecture at a size that one GPU of 16 GB trains, from free weights.

    EVA-CLIP-g, Q-Former and queries come from a BLIP-2 checkpoint (`blip2-opt-2.7b`; its projection
    leads to OPT, so a new one is trained), the language model is Qwen2.5-1.5B-Instruct, and
    DINOv2-B with registers and SAM ViT-B are the other encoders. None of them knows [SEG]: its
    projection and the rows of the grounding tokens are trained too. Losses, prompt around the
    images, augmentation and optimisation are those of `seven_b`.
    """
    base = seven_b()
    return replace(
        base,
        name="2b",
        semantic=DINOV2["base"],
        sam=SamConfig(
            hidden_size=768, layers=12, heads=12, mlp_size=3072, global_layers=(2, 5, 8, 11)
        ),
        language=LanguageConfig(
            family="qwen2",
            vocabulary=151936,
            hidden_size=1536,
            layers=28,
            heads=12,
            kv_heads=2,
            mlp_size=8960,
            max_positions=32768,
            norm_eps=1e-6,
            rope_theta=1e6,
            tie_embeddings=True,
            new_token_rows="trained",
        ),
        # The paper's {11, 22} of 32 layers are multiples of round(32 / 3); of 28, round(28 / 3).
        correspondence=CorrespondenceConfig(layers=(9, 18)),
        trained=TrainedParts(projection=True, seg_projection=True),
        # The chat form that the instructed model was tuned on, with the system prompt of its own
        # template. Its end token, <|im_end|>, closes every answer. No markers around images: Qwen
        # has no rows for LLaVA's, and two more would have to be learned.
        prompt=replace(
            base.prompt,
            system="<|im_start|>system\nYou are Qwen, created by Alibaba Cloud."
            " You are a helpful assistant.<|im_end|>",
            user="\n<|im_start|>user\n",
            assistant="<|im_end|>\n<|im_start|>assistant\n",
            image_markers=False,
        ),
    )


def tiny() -> CalicoConfig:
    """Return the same architecture at a size that two CPU cores train in minutes.

    Without published weights, its encoders are pretrained, and all parts after them are trained.
    """
    return CalicoConfig(
        name="tiny",
        vision=GlobalEncoderConfig(128, 16, 128, 2, 4, 256, "conv"),
        semantic=SemanticEncoderConfig(128, 128, 16, 128, 2, 4, registers=0, stem="conv"),
        qformer=QFormerConfig("qformer", 128, 2, 4, 256, 1, 8, 0.0),
        sam=SamConfig(128, 16, 128, 2, 4, 256, (0, 1), 0, 96, 2, 4, 192, 32, "conv"),
        language=LanguageConfig(
            vocabulary=0,
            hidden_size=128,
            layers=4,
            heads=4,
            mlp_size=256,
            max_positions=512,
            tuning="full",
        ),
        correspondence=CorrespondenceConfig(layers=(1, 3), heads=4),
        trained=TrainedParts(True, True, True, True, True, True),
        # At the paper's 0.5, masks of parts stay coarse if the decoder starts from random weights.
        # Text counts more as well, because the language model starts from random weights too.
        loss=LossConfig(text=2.0, dice=2.0, presence=3.0),
        prompt=PromptConfig(
            system="",
            lead="Pictures: {images}.",
            user="",
            assistant=" ANSWER: ",
            image_markers=False,
        ),
        training=_tiny_training(),
        pretraining=PretrainingConfig(
            steps=2000,
            semantic_steps=600,
            mask_steps=5000,
            batch_size=16,
            qformer_steps=3000,
            learning_rate=2e-3,
            optimizer="muon",
            muon_factor=2.5,
            carry_over=True,
        ),
        generation=GenerationConfig(max_new_tokens=120, batch_size=32),
        execution=ExecutionConfig(precision="fp32", activation_checkpointing=False),
    )


def _tiny_training() -> TrainingConfig:
    return TrainingConfig(
        steps=3100,
        text_share=0.3871,  # 1,200 steps
        batch_size=16,
        learning_rate=1.5e-3,
        optimizer="muon",
        muon_factor=2.5,
        betas=(0.9, 0.98),
        warmup_steps=50,
        schedule="cosine",
        features="store",
        flips=True,
        # Answers of one length are answers of one task: such batches teach less.
        group_by_length=False,
        contrast={"common_object": 0.5, "common_parts": 0.4, "unique_parts": 0.7},
        task_weights={"common_object": 2.5, "common_parts": 2.5, "unique_parts": 3.5},
    )


PRESETS: dict[str, Callable[[], CalicoConfig]] = {
    "tiny": tiny,
    "2b": two_b,
    "7b": seven_b,
    "7b-dinov2-large": partial(seven_b_with, "large"),
    "7b-dinov2-giant": partial(seven_b_with, "giant"),
}


def preset(name: str) -> CalicoConfig:
    """Return the configuration of a name.

    Raises:
        UsageError: there is no preset of this name.
    """
    if name not in PRESETS:
        near = near_names(name, PRESETS)
        raise UsageError(f"there is no preset '{name}'.{near}", f"Presets: {', '.join(PRESETS)}")
    return PRESETS[name]()
