"""A model on several devices: a map of its parts, and answers that are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import calico
from calico.checkpoints.save_load import save_checkpoint
from calico.cli.predict import main as ask
from calico.inference import device_map
from calico.inference.device_map import dispatched, movable
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model.calico import Calico
from calico.predictions.types import Prediction
from mixedparts.errors import EnvironmentFault, UsageError
from tests.factories.micro_model import micro_model, micro_tokenizer, random_cams
from tests.factories.noise import noise_images

QUESTION = "Which object do both pictures contain?"
# On a machine without a GPU, "disk" is the other place: accelerate holds such modules without
# memory, brings their weights before each pass, and moves what they take and return.
APART = {"": "cpu", "language.model.layers.1": "disk", "language.model.layers.3": "disk"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, config = micro_model(
        seed=3,
        language={"tuning": "lora", "vocabulary": len(micro_tokenizer())},
        generation={"max_new_tokens": 10, "num_beams": 1},
    )
    random_cams(model)
    # Answers hold [SEG] and seldom end.
    torch.manual_seed(2)
    with torch.no_grad():
        weight = model.language.lm_head.weight
        weight[model.ids.end] = 0
        weight[model.ids.segments.seg] = 60 * weight.abs().mean(0) * torch.randn(weight.shape[1])
    folder = tmp_path_factory.mktemp("map") / "checkpoint-000001"
    save_checkpoint(folder, model, config, micro_tokenizer(), 1)
    return folder


def answers(predictor: Predictor, beams: int = 1) -> list[Prediction]:
    predictor.configure({"num_beams": beams})
    queries = [Query(str(n), QUESTION, noise_images(2), ("a", f"b{n}")) for n in range(2)]
    return list(predictor.predict(queries))


class TestAnswers:
    @pytest.mark.parametrize("beams", [1, 3])
    def test_they_are_those_of_one_device(
        self, checkpoint: Path, tmp_path: Path, beams: int
    ) -> None:
        expected = answers(Predictor.from_pretrained(checkpoint, "cpu"), beams)
        assert any(one.segments for one in expected)
        spread = calico.load(checkpoint, device_map=APART, offload_folder=tmp_path)
        layers = spread.model.language.model.layers
        homes = [{one.device.type for one in layer.parameters()} for layer in layers]
        assert homes == [{"cpu"}, {"meta"}, {"cpu"}, {"meta"}]
        assert answers(spread, beams) == expected
        # The weights leave again after each pass.
        assert {one.device.type for one in layers[1].parameters()} == {"meta"}

    def test_encoders_may_lie_apart_too(self, checkpoint: Path, tmp_path: Path) -> None:
        expected = answers(Predictor.from_pretrained(checkpoint, "cpu"))
        places = {"": "cpu", "encoders": "disk"}
        spread = Predictor.from_pretrained(checkpoint, device_map=places, offload_folder=tmp_path)
        assert spread.device == spread.encoder.device == torch.device("cpu")
        assert answers(spread) == expected

    def test_auto_is_the_cpu_where_there_is_no_gpu(self, checkpoint: Path) -> None:
        expected = answers(Predictor.from_pretrained(checkpoint, "cpu"))
        assert answers(Predictor.from_pretrained(checkpoint, device_map="auto")) == expected

    def test_the_command_takes_a_file(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, image in zip("ab", noise_images(2), strict=True):
            image.save(tmp_path / f"{name}.png")
        (tmp_path / "map.yaml").write_text('"": cpu\nlanguage.model.layers: disk\n')
        shown = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--checkpoint", str(checkpoint)]
        texts = []
        for more in ([], ["--device-map", str(tmp_path / "map.yaml")], ["--device-map", "auto"]):
            out = ["--out", str(tmp_path / f"out{len(texts)}"), "--offload-folder"]
            assert ask([*shown, *more, *out, str(tmp_path / "weights")]) == 0
            texts.append(capsys.readouterr().out.replace(f"out{len(texts)}", ""))
        assert texts[0] == texts[1] == texts[2]


class TestMaps:
    @pytest.fixture
    def model(self) -> Calico:
        return micro_model(seed=3)[0]

    def test_gpus_are_filled_in_order_and_neighbouring_layers_stay_together(
        self, model: Calico, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        layer = device_map._bytes(model.language.model.layers[0])
        together = sum(
            device_map._bytes(model.get_submodule(name)) for name in device_map._together(model)
        )
        encoders = device_map._bytes(model.encoders)
        sizes = {
            0: (together + 2 * layer) / 0.8 + 10,
            1: (layer + layer // 2) / 0.8,
            2: (layer + encoders) / 0.8 + 10,
            "cpu": 1e12,
        }
        monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: sizes)
        places = device_map._automatic(model)
        layers = [places[f"language.model.layers.{number}"] for number in range(4)]
        assert layers == ["cuda:0", "cuda:0", "cuda:1", "cuda:2"]
        assert {places[f"encoders.{name}"] for name in ("vision", "semantic", "sam")} == {"cuda:2"}
        rest = {name for name in places if name not in movable(model)}
        assert {places[name] for name in rest} == {"cuda:0"}
        # accelerate asks for a place of every weight.
        for name, _ in model.named_parameters():
            assert any(name.startswith(f"{place}.") or name == place for place in places), name

    @pytest.mark.parametrize(
        ("wanted", "error", "said"),
        [
            ({"bridge": "cpu"}, UsageError, "bridge"),
            ({"language.model.layers.9": "cpu"}, UsageError, r"layers\.9"),
            ({"": "tpu"}, UsageError, "tpu"),
            ({"": "disk"}, UsageError, "everything on disk"),
            ({"encoders": "disk"}, UsageError, "no folder"),
            ({"encoders": 99}, EnvironmentFault, "cuda:99"),
            ("balanced", UsageError, "balanced"),
        ],
    )
    def test_maps_that_cannot_be_used_are_named(
        self, model: Calico, wanted: object, error: type[Exception], said: str
    ) -> None:
        with pytest.raises(error, match=said):
            dispatched(model, wanted)  # type: ignore[arg-type]

    def test_a_device_beside_a_map_is_a_usage_error(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        noise_images(1)[0].save(tmp_path / "a.png")
        words = [str(tmp_path / "a.png")] * 2 + ["--checkpoint", str(checkpoint)]
        assert ask([*words, "--device", "cpu", "--device-map", "auto"]) == 2
        assert "exclude each other" in capsys.readouterr().err
        (tmp_path / "map.yaml").write_text("encoders: [1]\n")
        assert ask([*words, "--device-map", str(tmp_path / "map.yaml")]) == 2
        assert "encoders" in capsys.readouterr().err
