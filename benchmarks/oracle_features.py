"""The language model of the tiny preset behind perfect encoders: image tokens that are names.

The image tokens are learnt embeddings of the names of all classes and parts that an image shows:
what perfect encoders could tell. There is no CEM and no CAM, and no mask is drawn.
`benchmarks.other_image_proof` trains it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.other_image import (
    TASKS,
    Asked,
    Shown,
    answer,
    comparable,
    fitting,
    right_answer,
)
from calico.config.calico import CalicoConfig, CorrespondenceConfig
from calico.config.presets import tiny
from calico.dataset.pairs import BuiltDataset
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.generation import generate
from calico.model.projector import Projector, Question
from calico.model.vision import ImageFeatures
from calico.optim.optimizer import build_updater, hidden_matrices
from calico.optim.schedule import rate_factor
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import build_tokenizer, decode, token_ids
from calico.training.setup import dataset_vocabulary
from mixedparts.errors import InputError
from mixedparts.pairing.random_streams import philox
from mixedparts.progress import Progress
from mixedparts.records import Task
from mixedparts.text import answers as wording


class LabelBridge(Projector):
    """Image tokens that are embeddings of labels: (N, T_i, 1) label numbers -> (N, T_i, D)."""

    def __init__(self, labels: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.labels = nn.Embedding(labels, width)
        nn.init.normal_(self.labels.weight, std=0.02)

    def forward(self, features: Tensor, question: Question | None = None) -> Tensor:
        """Look the labels up."""
        found: Tensor = self.labels(features[..., 0].long())
        return found


@dataclass(frozen=True, slots=True)
class LabelCode:
    """Numbers of class and part names; 0 stands for nothing.

    Attributes:
        numbers: name of a class, or class and part -> number.
        tokens: T_i, the most names that an image shows.
    """

    numbers: dict[tuple[str, str], int]
    tokens: int

    @classmethod
    def of(cls, images: Sequence[Shown]) -> LabelCode:
        """Number all names that some images show."""
        listed = [_names(image) for image in images]
        every = sorted({name for names in listed for name in names})
        return cls({name: 1 + at for at, name in enumerate(every)}, max(map(len, listed)))

    def features(self, images: Sequence[Shown | None]) -> ImageFeatures:
        """Return the labels of images as features (N, T_i, 1); None shows nothing."""
        labels = torch.zeros(len(images), self.tokens, 1)
        for place, image in enumerate(images):
            for at, name in enumerate(_names(image)[: self.tokens] if image is not None else ()):
                # A name that training never showed is as good as none.
                labels[place, at, 0] = self.numbers.get(name, 0)
        none = labels.new_zeros(len(images), 0, 0)
        return ImageFeatures(labels, none, none)


def _names(image: Shown) -> list[tuple[str, str]]:
    return [
        (name, part)
        for name, parts in zip(image.classes, image.parts, strict=True)
        for part in ("", *sorted(parts or ()))
    ]


class PairDraw:
    """Draws pairs of the train split that are asked about as the triangles are.

    Raises:
        InputError: the images give no pair of some task.
    """

    def __init__(self, images: Sequence[Shown], tasks: Sequence[Task] = TASKS) -> None:
        self.tasks = tuple(tasks)
        self.partners: dict[Task, list[tuple[Shown, list[Shown]]]] = {}
        for task in self.tasks:
            groups: dict[tuple[str, str], list[Shown]] = defaultdict(list)
            for image in images:
                if image.split == "train" and fitting(task, image):
                    for name in image.classes:
                        groups[image.source, name].append(image)
            self.partners[task] = list(_partners(task, groups))
            if not self.partners[task]:
                raise InputError(f"the train split shows no pair of images for {task}")

    def batch(self, size: int, seed: int, step: int) -> list[Asked]:
        """Draw the questions of a step."""
        rng = philox(seed, f"pairs|{step}")
        found = []
        for place in range(size):
            task = self.tasks[place % len(self.tasks)]
            one, partners = self.partners[task][int(rng.integers(len(self.partners[task])))]
            two = partners[int(rng.integers(len(partners)))]
            right = (answer(task, one, two), answer(task, two, one))
            question = wording.question(task, int(rng.integers(1 << 30)))
            found.append(Asked("", task, (one, two), question, right, ((), ())))
        return found


def _partners(
    task: Task, groups: dict[tuple[str, str], list[Shown]]
) -> Iterator[tuple[Shown, list[Shown]]]:
    """Yield every image of a group with those that it can be asked about with.

    An image of two classes is in two groups, so each of them is the answer as often.
    """
    for _, members in sorted(groups.items()):
        for image in members:
            near = [other for other in members if comparable(task, image, other)]
            if near:
                yield image, near


@dataclass(frozen=True, slots=True)
class Subject:
    """A language model that sees labels.

    Attributes:
        hidden: whether the second image shows nothing.
    """

    model: Calico
    prompts: PromptEncoder
    code: LabelCode
    config: CalicoConfig
    hidden: bool

    def features(self, asked: Sequence[Asked]) -> ImageFeatures:
        """Return the features of all images of some questions."""
        return self.code.features(
            [None if at and self.hidden else one.images[at] for one in asked for at in range(2)]
        )

    def loss(self, asked: Sequence[Asked]) -> Tensor:
        """Return the cross entropy of the right answers."""
        encoded = [self.prompts.sample(one.question, right_answer(one), 2) for one in asked]
        tokens, answers = self.prompts.collate(encoded)
        last = answers.int().argmax(1) - 1
        hidden = self.model.hidden_states(tokens, self.features(asked), 2, last)
        logits = self.model.language.lm_head(hidden[:, :-1][answers[:, 1:]])
        return F.cross_entropy(logits, tokens[:, 1:][answers[:, 1:]])

    def answers(self, asked: Sequence[Asked], size: int = 64) -> dict[str, str]:
        """Answer questions by greedy decoding."""
        found = {}
        self.model.eval()
        for start in range(0, len(asked), size):
            part = asked[start : start + size]
            prompts = self.prompts.batch([one.question for one in part], 2)
            tokens = generate(self.model, prompts, self.features(part), 80).tokens
            for one, row in zip(part, tokens.tolist(), strict=True):
                found[one.id] = decode(self.prompts.tokenizer, row)
        return found


def build_subject(dataset: BuiltDataset, code: LabelCode, seed: int, hidden: bool) -> Subject:
    """Build the tiny preset's language model behind label embeddings."""
    config = replace(tiny(), correspondence=CorrespondenceConfig(layers=(), heads=4))
    prompt = config.prompt
    lead = prompt.lead.format(images=" ") + prompt.assistant
    words = dataset_vocabulary(dataset.pairs("train"), lead, dataset.profile)
    tokenizer = build_tokenizer(words, prompt.max_images)
    config = replace(config, language=replace(config.language, vocabulary=len(tokenizer)))
    torch.manual_seed(seed)
    model = build_model(config, token_ids(tokenizer, prompt.max_images))
    model.bridge = LabelBridge(1 + len(code.numbers), code.tokens, config.language.hidden_size)
    return Subject(model, PromptEncoder(tokenizer, prompt, code.tokens), code, config, hidden)


def train_stage(
    subject: Subject, pairs: PairDraw, steps: int, seed: int, progress: Progress
) -> None:
    """Train language model and embeddings at the tiny preset's settings."""
    chosen = subject.config.training
    parts = nn.ModuleDict({"language": subject.model.language, "bridge": subject.model.bridge})
    named = dict(parts.named_parameters())
    matrices = hidden_matrices(*parts.values())
    updater = build_updater(named, chosen.learning_rate, chosen, matrices)
    subject.model.train()
    progress.start("second image hidden" if subject.hidden else "both images", steps, "steps")
    for step in range(steps):
        factor = rate_factor(step, steps, chosen.warmup_steps, "cosine")
        updater.set_rate(chosen.learning_rate * factor)
        loss = subject.loss(pairs.batch(chosen.batch_size, seed, step))
        loss.backward()
        updater.step(chosen.clip)
        progress.advance()
    progress.finish()
