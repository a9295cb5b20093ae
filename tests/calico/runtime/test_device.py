"""Where the model computes: the names of devices, and everything on one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from calico.checkpoints.save_load import find_checkpoint, save_checkpoint
from calico.cli.predict import main as ask
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.inference.transformers_auto import CalicoProcessor
from calico.model.calico import Calico
from calico.model.inputs import PromptBatch
from calico.runtime.device import choose_device
from mixedparts.errors import EnvironmentFault, UsageError
from tests.factories.elsewhere import THERE, Elsewhere
from tests.factories.micro_batches import training_batch
from tests.factories.micro_model import micro_model, micro_tokenizer, random_cams
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
