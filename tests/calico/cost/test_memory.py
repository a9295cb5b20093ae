"""Memory that is counted on tensors without memory, against steps that are really taken."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from calico.config.calico import CalicoConfig
from calico.config.presets import preset, seven_b
from calico.cost.fake_model import AVERAGE, FROZEN, GRADIENTS, MOMENTS, TRAINED
from calico.cost.fitting import fit_step
from calico.cost.memory import (
    BUCKETS,
    FEATURES,
    GATHERED,
    answer_memory,
    share_of,
    step_memory,
)
from calico.cost.skeleton import FIRST_TAG, IMAGE, OTHER, SEG, parts, skeleton
from calico.cost.step import training_phases
from calico.cost.workload import Workload
from calico.model.assembly import build_model
from calico.model.inputs import TokenIds, TrainingBatch
from calico.model.precision import arithmetic, store
from calico.model.segments import SegVocabulary
from calico.model.vision import ImageFeatures
from calico.optim.optimizer import build_updater, hidden_matrices
from tests.factories.micro_model import micro_config

WORKLOAD = Workload(text=90, answer=40, masks=4, size=(40, 60))


def wide(**changes: object) -> CalicoConfig:
    """Return a model in which activations weigh more than weights, as in a large one."""
    return micro_config(
        language={
            **{"hidden_size": 96, "heads": 4, "layers": 6, "mlp_size": 256},
            **{"vocabulary": 300, "tuning": "lora", "lora_dropout": 0.0},
        },
        training={"batch_size": 8, "optimizer": "adamw", "features": "encode"},
        **changes,
    )


def real_peak(config: CalicoConfig, workload: Workload, samples: int, accumulated: bool) -> int:
    """Return the bytes in use at the peak of a real step, as torch's allocator reports them."""
    tags = tuple((FIRST_TAG + number,) for number in range(2))
    model = build_model(config, TokenIds(0, 2, IMAGE, SegVocabulary(SEG, tags)))
    store(model, config.execution).train()
    weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
    updater = build_updater(weights, 1e-3, config.training, hidden_matrices(*model.networks()))
    assert updater.adamw is not None
    for weight in weights.values():
        weight.grad = torch.zeros_like(weight)
    updater.adamw.step()
    for weight in weights.values():
        weight.grad = torch.zeros_like(weight) if accumulated else None
    batch = real_batch(config, workload, samples)
    features = batch.features
    held = [
        *(*model.parameters(), *model.buffers()),
        *(value for state in updater.adamw.state.values() for value in state.values()),
        *(one.grad for one in weights.values() if one.grad is not None),
        *(features.vision, features.semantic, features.sam, batch.masks),
    ]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        with arithmetic(config.execution, torch.device("cpu")):
            losses = model(batch)
        losses.total.backward()
    changes = [
        (event.start_ns(), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    running = list(accumulate(size for _, size in sorted(changes)))
    return sum(one.untyped_storage().nbytes() for one in held) + max(running)


def real_batch(config: CalicoConfig, workload: Workload, samples: int) -> TrainingBatch:
    images, length = workload.images, workload.text + workload.images * config.image_tokens
    tokens = torch.full((samples, length), OTHER)
    tokens[:, 1 : 1 + images * config.image_tokens] = IMAGE
    answer = torch.zeros(samples, length, dtype=torch.bool)
    answer[:, -workload.answer :] = True
    for number in range(workload.masks):
        tokens[:, length - workload.answer + 2 * number] = SEG
        tokens[:, length - workload.answer + 2 * number + 1] = FIRST_TAG + number % images
    side, grid = config.sam.mask_size, config.vision.image_size // config.vision.patch_size
    small = config.sam.image_size // config.sam.patch_size
    where = [n * images + m % images for n in range(samples) for m in range(workload.masks)]
    return TrainingBatch(
        tokens=tokens,
        answer=answer,
        features=ImageFeatures(
            torch.rand(samples * images, grid**2 + 1, config.vision.hidden_size),
            torch.rand(samples * images, grid**2, config.semantic.hidden_size),
            torch.rand(samples * images, config.sam.prompt_size, small, small),
        ),
        images=images,
        masks=torch.rand(samples * workload.masks, side, side).round(),
        mask_image=torch.tensor(where),
        extents=torch.full((samples * images, 2), side),
    )


def passes(config: CalicoConfig, samples: int, accumulated: bool = False) -> int:
    return training_phases(config, WORKLOAD, samples, accumulated)[0].total


class TestAgainstRealSteps:
    @pytest.mark.parametrize("checkpointing", [True, False])
    @pytest.mark.parametrize("samples", [1, 2, 8])
    def test_the_peak_is_that_of_a_real_step(self, samples: int, checkpointing: bool) -> None:
        config = wide(execution={"activation_checkpointing": checkpointing})
        found = passes(config, samples, accumulated=samples < 8)
        real = real_peak(config, WORKLOAD, samples, accumulated=samples < 8)
        assert found == pytest.approx(real, rel=0.03)

    @pytest.mark.parametrize("checkpointing", [True, False])
    def test_also_in_bf16(self, checkpointing: bool) -> None:
        config = wide(execution={"activation_checkpointing": checkpointing, "precision": "bf16"})
        assert passes(config, 2) == pytest.approx(
            real_peak(config, WORKLOAD, 2, accumulated=False), rel=0.03
        )

    def test_checkpointing_saves_what_it_saves_in_a_real_step(self) -> None:
        on, off = (
            wide(execution={"activation_checkpointing": switched}) for switched in (True, False)
        )
        saved = passes(off, 8) - passes(on, 8)
        real = real_peak(off, WORKLOAD, 8, False) - real_peak(on, WORKLOAD, 8, False)
        assert saved > 0.2 * passes(off, 8)
        assert saved == pytest.approx(real, rel=0.05)


class TestStep:
    def test_two_counts_bound_every_number_between_them(self) -> None:
        config = wide()
        counts = [passes(config, samples) for samples in (1, 2, 3, 5, 8)]
        slope = (counts[-1] - counts[0]) / 7
        for samples, count in zip((2, 3, 5), counts[1:-1], strict=True):
            line = counts[0] + slope * (samples - 1)
            assert 0.97 * line < count <= 1.0001 * line

    def test_the_parts_of_a_step_are_those_of_its_setting(self) -> None:
        config = wide()
        alone, shared = step_memory(config, WORKLOAD, 2), step_memory(config, WORKLOAD, 2, 4)
        assert (alone.samples, alone.share, shared.share) == (2, 8, 2)
        # Features of the other six samples wait; alone has gradients of earlier parts.
        assert alone.part(FEATURES) == 6 * 2 * 4 * (17 * 32 + 16 * 16 + 16 * 4 * 4)
        assert shared.part(FEATURES) == 0
        assert alone.part(BUCKETS) == 0
        assert shared.part(BUCKETS) == shared.part(TRAINED)
        trained = sum(part.trained for part in parts(skeleton(config)))
        assert alone.part(TRAINED) == 4 * trained
        # Two numbers a weight, and a step counter for each tensor.
        assert 8 * trained <= alone.part(MOMENTS) < 8 * trained + 1000
        assert alone.part(GRADIENTS) == 4 * trained
        stored = replace(config, training=replace(config.training, features="store"))
        assert step_memory(stored, WORKLOAD, 2).part(FEATURES) == 0
        names = [phase.name for phase in step_memory(stored, WORKLOAD, 2).phases]
        assert names == ["forward and backward pass", "update of the weights"]

    def test_an_average_of_the_weights_is_counted(self) -> None:
        config = wide()
        averaged = replace(config, training=replace(config.training, ema=0.9))
        assert step_memory(averaged, WORKLOAD, 1).part(AVERAGE) == (
            step_memory(config, WORKLOAD, 1).part(TRAINED)
        )

    def test_fsdp_divides_all_weights_but_those_of_the_encoders(self) -> None:
        config = wide(execution={"precision": "bf16", "parallel": "fsdp"})
        whole = replace(config, execution=replace(config.execution, parallel="ddp"))
        sharded, plain = (step_memory(one, WORKLOAD, 1, 4) for one in (config, whole))
        encoders = sum(
            2 * part.count for part in parts(skeleton(config)) if "encoder" in part.name
        ) - 2 * sum(p.count for p in parts(skeleton(config)) if p.name == "SAM prompt encoder")
        rest = plain.part(FROZEN) - encoders
        assert sharded.part(FROZEN) == pytest.approx(encoders + rest / 4, rel=0.02)
        assert sharded.part(MOMENTS) == plain.part(MOMENTS) // 4
        assert sharded.part(GATHERED) > 0 == plain.part(GATHERED)

    def test_int8_and_nf4_take_the_bytes_of_their_weights(self) -> None:
        found = {}
        for kind in ("none", "int8", "nf4"):
            config = wide(execution={"precision": "bf16", "quantization": kind})
            found[kind] = step_memory(config, WORKLOAD, 1).part(FROZEN)
        linears = 6 * (4 * 96 * 96 + 3 * 96 * 256)
        assert found["none"] - found["int8"] == 2 * linears - linears - 4 * 6 * (
            4 * 96 + 2 * 256 + 96
        )
        assert found["none"] - found["nf4"] == pytest.approx((2 - 0.516) * linears, rel=0.01)

    def test_a_qformer_that_reads_the_question_can_be_counted(self) -> None:
        config = wide(qformer={"sees_question": True, "vocabulary": 300})
        assert passes(config, 1) > passes(wide(), 1)

    @pytest.mark.parametrize("resolution", ["original", "points"])
    def test_every_resolution_of_the_mask_loss_can_be_counted(self, resolution: str) -> None:
        config = wide(loss={"resolution": resolution, "points": 20})
        assert passes(config, 2) > passes(config, 1)


class TestFits:
    def test_the_largest_part_that_fits_is_taken_and_parts_are_even(self) -> None:
        config = wide()
        whole, single = step_memory(config, WORKLOAD, 8).total, step_memory(config, WORKLOAD, 1)
        for room in (whole + 1, (whole + single.total) // 2, single.total + 1):
            (fit,) = fit_step(config, WORKLOAD, [room])
            assert step_memory(config, WORKLOAD, fit.micro_batch).total <= room
            assert fit.parts == -(-8 // fit.micro_batch)
            assert fit.micro_batch == -(-8 // fit.parts)
        assert fit_step(config, WORKLOAD, [2 * whole])[0].micro_batch == 8
        (none,) = fit_step(config, WORKLOAD, [single.total // 2])
        assert (none.micro_batch, none.needed) == (0, pytest.approx(single.total, rel=0.05))

    def test_small_devices_encode_one_image_at_once(self) -> None:
        config = wide()
        one = replace(config, execution=replace(config.execution, encode_batch={"sam": 1}))
        large, small = (
            max(phase.total for phase in step_memory(c, WORKLOAD, 1).phases if "enc" in phase.name)
            for c in (config, one)
        )
        assert small <= large
        assert fit_step(one, WORKLOAD, [small])[0].one_image is False


class TestPresets:
    def test_the_7b_models_bytes(self) -> None:
        config = seven_b()
        step = step_memory(config, Workload(), 1)
        assert step.part(TRAINED) == step.part(GRADIENTS) == 27_003_108 * 4
        frozen = sum(part.count - part.trained for part in parts(skeleton(config)))
        # And two rotary tables and other constants in float32.
        assert step.part(FROZEN) == pytest.approx(2 * frozen, rel=1e-5)
        assert share_of(config, 1) == 80
        assert step.part(FEATURES) == 79 * 2 * 4 * (257 * 1408 + 256 * 768 + 256 * 64 * 64)

    def test_answers_need_keys_and_values(self) -> None:
        config = wide()
        found = answer_memory(config, WORKLOAD, 2)
        length = 90 + 2 * 3
        assert found.cache == 2 * 6 * 96 * length * 4
        assert found.stored == 4 * (17 * 32 + 16 * 16 + 16 * 4 * 4)
        assert found.total < answer_memory(config, WORKLOAD, 4).total

    def test_the_sample_of_the_7b_preset_has_all_its_turns(self) -> None:
        config = preset("7b")
        turns = config.training.max_turns if config.training.multi_turn else 1
        assert Workload.of(config).masks == 6 * turns
        assert Workload.of(preset("tiny")) == Workload()
