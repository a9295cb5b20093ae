"""Where the model computes: the names of devices, and everything on one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import AutoModel

from calico.checkpoints.save_load import find_checkpoint, save_checkpoint
from calico.cli.predict import main as ask
from calico.config.calico import ExecutionConfig
from calico.dataset.pairs import BuiltDataset
from calico.evaluation import in_memory
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.inference.transformers_auto import CalicoProcessor
from calico.model.calico import Calico
from calico.model.inputs import PromptBatch
from calico.model.precision import arithmetic
from calico.pretraining.pretrain import pretrain
from calico.runtime import distributed
from calico.runtime.device import choose_device, fixed_order
from calico.runtime.distributed import build_accelerator
from calico.training.train import RunSettings, train
from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.progress import Silent
from tests.factories.elsewhere import THERE, Elsewhere
from tests.factories.evaluation import LetterModel
from tests.factories.micro_batches import training_batch
from tests.factories.micro_model import micro_config, micro_model, micro_tokenizer, random_cams
from tests.factories.noise import noise_images

QUESTION = "Which object do both pictures contain?"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model, config = micro_model(seed=3, generation={"max_new_tokens": 10})
    random_cams(model)
    talk(model)
    save_checkpoint(tmp_path / "checkpoint-000001", model, config, micro_tokenizer(), 1)
    return tmp_path


def talk(model: Calico) -> None:
    """Make answers hold [SEG] and seldom end."""
    torch.manual_seed(2)
    with torch.no_grad():
        weight = model.language.lm_head.weight
        weight[model.ids.end] = 0
        weight[model.ids.segments.seg] = 3 * weight.abs().mean(0) * torch.randn(weight.shape[1])
        weight[model.ids.segments.seg] *= 20


class TestNames:
    def test_auto_is_the_cpu_where_there_is_no_cuda(self) -> None:
        expected = "cuda" if torch.cuda.is_available() else "cpu"
        assert choose_device("auto").type == choose_device().type == expected
        assert choose_device("cpu") == torch.device("cpu")

    @pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", "CUDA"])
    def test_other_names_are_a_usage_error(self, name: str) -> None:
        with pytest.raises(UsageError, match="no kind of device"):
            choose_device(name)

    def test_a_device_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 0)
        assert choose_device("cuda:1") == torch.device("cuda", 1)
        with pytest.raises(EnvironmentFault, match=r"cuda:2 .* 2 of them"):
            choose_device("cuda:2")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(EnvironmentFault, match="none that torch can use"):
            choose_device("cuda")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        with pytest.raises(EnvironmentFault, match="no MPS"):
            choose_device("mps")

    def test_the_commands_say_so_before_they_load(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (picture,) = noise_images(1)
        picture.save(tmp_path / "a.png")
        shown = [str(tmp_path / "a.png")] * 2
        for name, code in (("cuda:99", 3), ("tpu", 2)):
            assert ask([*shown, "--checkpoint", str(checkpoint), "--device", name]) == code
            assert name in capsys.readouterr().err


class TestExactness:
    @pytest.fixture(autouse=True)
    def _rounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    def test_float32_is_float32_in_convolutions_on_a_gpu(self) -> None:
        with arithmetic(ExecutionConfig(precision="fp32"), THERE):
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32
        build_accelerator("cpu")
        assert not torch.backends.cudnn.allow_tf32

    def test_no_attention_is_left_that_adds_in_any_order(self) -> None:
        """Where torch only warns, those of xFormers and cuDNN would be taken."""
        fixed_order()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cuda.mem_efficient_sdp_enabled()
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.math_sdp_enabled()

    def test_several_processes_do_not_share_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(UsageError, match="cannot share cuda:1"):
            build_accelerator("cuda:1")

    def test_one_process_trains_on_the_gpu_of_its_option(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chosen = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        monkeypatch.setattr(distributed, "Accelerator", There)
        build_accelerator("cuda:1")
        assert chosen == [torch.device("cuda", 1)]


class TestElsewhere:
    @pytest.mark.parametrize("beams", [1, 3])
    def test_an_answer_is_made_on_the_device_as_it_is_here(
        self, checkpoint: Path, beams: int
    ) -> None:
        queries = [Query(str(n), QUESTION, noise_images(2), ("a", f"b{n}")) for n in range(2)]
        here = Predictor.from_pretrained(checkpoint, "cpu")
        here.configure({"num_beams": beams})
        expected = list(here.predict(queries))
        assert any(one.segments for one in expected)
        with Elsewhere() as elsewhere:
            there = Predictor.from_pretrained(checkpoint)
            assert there.device == THERE
            there.configure({"num_beams": beams})
            found = list(there.predict(queries))
            kept = there._features.values()
            assert {part.sam.device for part in kept} == {THERE}
        assert elsewhere.moved > 0
        assert found == expected

    def test_a_tensor_left_behind_is_noticed(
        self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The stand-in for a device refuses what a device would refuse."""
        monkeypatch.setattr(PromptBatch, "to", lambda self, _: self)
        with Elsewhere(), pytest.raises(AssertionError, match="two devices"):
            list(
                Predictor.from_pretrained(checkpoint).predict(
                    [Query("0", QUESTION, noise_images(2))]
                )
            )

    @pytest.mark.parametrize("resolution", ["decoder", "points"])
    def test_losses_and_gradients_are_made_on_the_device(self, resolution: str) -> None:
        found = []
        for place in (torch.device("cpu"), THERE):
            with Elsewhere():
                model, config = micro_model(
                    seed=3,
                    execution={"activation_checkpointing": True},
                    loss={"resolution": resolution, "points": 20},
                )
                random_cams(model)
                model.to(place).train()
                torch.manual_seed(0)
                losses = model(training_batch(config).to(place))
                losses.total.backward()
                assert losses.total.device == place
                weight = model.bridge.queries
                found.append((losses.total.item(), weight.grad))
        assert found[0][0] == found[1][0]
        assert torch.equal(found[0][1], found[1][1])

    def test_transformers_door_leads_there_too(self, checkpoint: Path) -> None:
        place = find_checkpoint(checkpoint)
        processor = CalicoProcessor.from_pretrained(place)
        inputs = processor([noise_images(2)], [QUESTION])
        expected = AutoModel.from_pretrained(place).generate(inputs, 6)
        with Elsewhere():
            model = AutoModel.from_pretrained(place, device_map="cuda:0")
            found = model.generate(processor([noise_images(2)], [QUESTION]), 6)
            assert found.tokens.device == THERE
        assert torch.equal(found.tokens, expected.tokens)


class There(Accelerator):
    """An accelerator of the device that is not there."""

    device = THERE

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "cpu": True})


# AdamW throughout, because Muon iterates in bf16 on a GPU, and one image at a time, because batches
# may be rounded in another way.
ON_DEVICE: dict[str, Any] = {
    "language": {"tuning": "lora", "lora_dropout": 0.3},
    "training": {
        "optimizer": "adamw",
        "steps": 4,
        "micro_batch": 0,
        "save_every": 2,
        "ema": 0.9,
        "eval_every": 3,
        "eval_samples": 2,
        "best": "label_f1",
    },
    "pretraining": {"optimizer": "adamw"},
    "execution": {
        "encode_batch": {"vision": 1, "semantic": 1, "sam": 1},
        "deterministic": True,
    },
}


class TestRuns:
    @pytest.fixture(autouse=True)
    def _one_text_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(in_memory, "_packaged_text_model", LetterModel)

    @pytest.mark.parametrize("features", ["store", "encode"])
    def test_a_run_is_the_same_on_the_device_resumed_or_not(
        self,
        dataset: BuiltDataset,
        encoders: Path,
        features: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Encoding, steps, averages, evaluation, checkpoints and resumption."""
        training = {**ON_DEVICE["training"], "features": features}
        config = micro_config(**{**ON_DEVICE, "training": training})
        settings = RunSettings(tmp_path / "here", encoders, device="cpu")
        here = train(config, dataset, settings, Silent())
        monkeypatch.setattr(distributed, "Accelerator", There)
        settings = RunSettings(tmp_path / "there", encoders, max_steps=2)
        ordered: set[bool] = set()
        with Elsewhere() as elsewhere:
            train(config, dataset, settings, Silent())
            resumed = replace(settings, resume=True, max_steps=None)
            there = train(
                config,
                dataset,
                resumed,
                Silent(),
                lambda _: ordered.add(torch.are_deterministic_algorithms_enabled()),
            )
        assert ordered == {True}
        assert elsewhere.moved > 100
        for name in ("model", "training"):
            ours, theirs = (load_file(one / f"{name}.safetensors") for one in (there, here))
            # The state of the device's generator is saved beside that of the CPU's.
            assert ours.keys() ^ theirs.keys() <= {"random_state/cuda"}
            for key, value in theirs.items():
                assert torch.equal(ours[key], value), key
        assert "random_state/cuda" in ours

    def test_encoders_are_pretrained_there_as_here(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        config = micro_config(**ON_DEVICE)
        pretrain(config, dataset, tmp_path / "here", Silent())
        with Elsewhere() as elsewhere:
            pretrain(config, dataset, tmp_path / "there", Silent(), There())
        ours, theirs = (
            load_file(tmp_path / name / "encoders.safetensors") for name in ("there", "here")
        )
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)
        # Losses and norm of 8 steps are read, once each: nothing else waits in a step.
        assert elsewhere.waits["tolist"] == elsewhere.waits["__float__"] == 8
