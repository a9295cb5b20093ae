"""A page of the demo that runs in a thread; its model gives one answer, with masks of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import uvicorn

from calico.demo.answering import Answering
from calico.demo.examples import Example, Examples
from calico.demo.page import build_page
from calico.demo.server import page_app, workspace
from calico.inference.predictor import Predictor
from calico.model.assembly import build_model
from calico.model.generation import Generated
from calico.processing.tokenizer import build_tokenizer, token_ids
from mixedparts.viewer.server.run import HOST, listening
from tests.factories.micro_model import micro_config
from tests.factories.noise import noise_images

ANSWER = (
    "One object is <p> a mug </p> [SEG] (IMAGE1), the other <p> a kettle </p> [SEG] (IMAGE2). Both"
    " have <p> the lid </p> [SEG] (IMAGE1) [SEG] (IMAGE2) and no <p> handle </p>, [SEG] (IMAGE9)."
)


@dataclass(frozen=True)
class Running:
    """A page that runs in a thread of this process."""

    address: str
    answering: Answering
    images: tuple[Path, ...]


def speaking_predictor(answer: str, patch: pytest.MonkeyPatch) -> Predictor:
    """A model of random weights for three images that says one answer; masks are decoded."""
    tokenizer = build_tokenizer([answer], 3)
    config = micro_config(language={"vocabulary": len(tokenizer)}, prompt={"max_images": 3})
    torch.manual_seed(3)
    model = build_model(config, token_ids(tokenizer, 3)).eval()
    words = [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    noise = torch.Generator().manual_seed(0)
    states = torch.randn(1, len(words), config.language.hidden_size, generator=noise)
    spoken = Generated(torch.tensor([words]), states, torch.ones(1, dtype=torch.bool))
    patch.setattr("calico.inference.predictor.generate", lambda *_: spoken)
    return Predictor(model, config, tokenizer, synthetic=True)


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The page of a model for three images, with one example of two."""
    folder = tmp_path_factory.mktemp("examples")
    images = tuple(folder / f"noise {number}.png" for number in range(3))
    for path, image in zip(images, noise_images(3), strict=True):
        image.save(path)
    with pytest.MonkeyPatch.context() as patch, workspace() as own, listening(0) as listener:
        answering = Answering(speaking_predictor(ANSWER, patch), own, 1)
        # Gradio serves examples of its own folder.
        shown = [own / f"example-{number}.png" for number in range(2)]
        for path, image in zip(shown, images, strict=False):
            path.write_bytes(image.read_bytes())
        examples = Examples((Example(tuple(shown), "unique_parts"),), "The examples are noise.")
        app = page_app(build_page(answering, examples, "runs/<i>micro"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        address = f"http://{HOST}:{listener.getsockname()[1]}/"
        yield Running(address, answering, images)
        server.should_exit = True
        thread.join(20)
