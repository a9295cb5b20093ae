"""`calico-demo`: start, examples, Ctrl+C, and what ends in one message."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image

from calico.cli import demo as command
from calico.dataset.pairs import BuiltDataset
from calico.demo.examples import dataset_examples, drawn_examples
from mixedparts.errors import InputError
from mixedparts.records import Task
from tests.conftest import command as installed


def test_the_command_serves_until_it_is_interrupted(finished: Path, dataset: BuiltDataset) -> None:
    words = [installed("calico-demo"), "--checkpoint", str(finished), "--port", "0"]
    process = subprocess.Popen(
        [*words, "--dataset", str(dataset.path), "--threads", "1", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+/)  \(Ctrl\+C ends it\)\n", line)
        assert found, line + process.communicate()[1]
        client = Client(found[1], verbose=False, analytics_enabled=False)
        endpoint = client.view_api(return_format="dict")["named_endpoints"]["/answer"]  # type: ignore[index]
        labels = [one["label"] for one in endpoint["parameters"]]
        assert labels[:3] == ["Image 1", "Image 2", "What to look for"]
        client.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
        assert len([line for line in lines if "interrupted" in line]) == 1
        assert not any("Traceback" in line for line in lines)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--checkpoint", "none"], 3, "none"),
        (["--checkpoint", ".", "--dataset", "none/here/at/all"], 3, "none/here/at/all"),
        (["--checkpoint", ".", "--device", "gpu"], 2, "there is no kind of device 'gpu'"),
    ],
)
def test_bad_usage_is_one_message(
    more: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(more) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert (printed.out, "Traceback" in printed.err) == ("", False)


def test_ports_that_cannot_be(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--checkpoint", str(finished), "--port", "70000"])
    assert "must be from 0 to 65535" in capsys.readouterr().err
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert command.main(["--checkpoint", str(finished), "--port", port]) == 3
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


def test_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("calico.demo.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert command.main(["--checkpoint", "runs/tiny"]) == 3
    said = capsys.readouterr().err
    assert "calico-demo needs the package gradio" in said
    assert "pip install 'mixedparts[demo]'" in said


class TestExamples:
    def test_drawn_ones_are_the_same_in_every_run(self, tmp_path: Path) -> None:
        pixels = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            examples = drawn_examples(tmp_path / name)
            pixels.append([path.read_bytes() for pair in examples.pairs for path in pair.images])
        assert pixels[0] == pixels[1]
        assert len(set(pixels[0])) == 2 * len(Task)
        assert [pair.task for pair in examples.pairs] == list(Task)
        assert "synthetic" in examples.origin
        with Image.open(examples.pairs[0].images[0]) as image:
            assert np.asarray(image).std() > 10

    def test_those_of_a_build_are_its_images(self, dataset: BuiltDataset, tmp_path: Path) -> None:
        examples = dataset_examples(dataset, tmp_path, 2)
        tasks = [pair.task for pair in examples.pairs]
        assert tasks == [task for task in Task if task in tasks]
        samples = dataset.pairs("validation")
        for pair in examples.pairs:
            first = next(one for one in samples if one.task == pair.task)
            expected = [dataset.images(ref.split).read(ref.row) for ref in first.images]
            assert [path.read_bytes() for path in pair.images] == expected
        assert str(dataset.path) in examples.origin
        assert "synthetic" in examples.origin

    def test_a_build_of_more_images_than_the_model_takes(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="no sample of at most 1 images"):
            dataset_examples(dataset, tmp_path, 1)
