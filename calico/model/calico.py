"""The assembled model: losses of a training batch, and the prefill that generation starts from.

Shapes: B samples of I images each, N = B * I images in sample order; T positions; T_i image
tokens an image; D the width of the language model; M masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

from calico.config.calico import ExecutionConfig, LossConfig
from calico.model.correspondence import Correspondence
from calico.model.grounding import MaskGrounder
from calico.model.inputs import TokenIds, TrainingBatch
from calico.model.language import cache_argument, checkpointed, decoder_layers
from calico.model.losses import Counts, Losses, mask_losses, original_mask_losses
from calico.model.presence import PresenceReader
from calico.model.projector import InstructedQFormerProjector, Projector, Question
from calico.model.segments import SegStates, read_segments
from calico.model.vision import ImageEncoders, ImageFeatures
from mixedparts.errors import InputError


class Calico(nn.Module):
    """CALICO: image tokens into a language model, [SEG] states out into SAM's mask decoder.

    Args:
        encoders: frozen encoders of single images.
        projector: turns image features into tokens; its weights are named `bridge`.
        language: the causal language model.
        correspondence: CEM and CAMs; None is the ablation without both.
        grounding: decodes masks from [SEG] states.
        ids: token ids that the model itself reads.
        loss: weights and kinds of the losses.
        execution: activation checkpointing is read here.
        presence: reads what the images show, for the auxiliary loss; None without it.
    """

    def __init__(
        self,
        encoders: ImageEncoders,
        projector: Projector,
        language: PreTrainedModel,
        correspondence: Correspondence | None,
        grounding: MaskGrounder,
        ids: TokenIds,
        loss: LossConfig,
        execution: ExecutionConfig,
        presence: PresenceReader | None = None,
    ) -> None:
        super().__init__()
        self.encoders = encoders
        self.bridge = projector  # the names of its weights in checkpoints start with `bridge`
        self.language = language
        self.correspondence = correspondence
        self.grounding = grounding
        self.presence = presence
        self.ids = ids
        self.loss = loss
        self.execution = execution

    @property
    def device(self) -> torch.device:
        """Device of the weights; all of them are on one."""
        return self.bridge.projection.weight.device

    def parts(self) -> Iterator[nn.Module]:
        """Yield the modules that are frozen or trained as a whole."""
        yield from self.encoders.children()
        yield from self.bridge.children()
        yield from self.grounding.children()
        yield self.language
        if self.correspondence is not None:
            yield self.correspondence
        if self.presence is not None:
            yield self.presence

    def networks(self) -> Iterator[nn.Module]:
        """Yield the modules that CALICO trains, without the language model's output layer."""
        yield self.bridge
        yield self.language.model
        yield self.grounding
        if self.correspondence is not None:
            yield self.correspondence
        if self.presence is not None:
            yield self.presence

    def train(self, mode: bool = True) -> Calico:
        """Set the mode; parts without trained weights stay in evaluation mode."""
        super().train(mode)
        # Dropout of a frozen part (the Q-Former has 0.1) would only add noise to its features.
        for part in self.parts():
            if not any(weight.requires_grad for weight in part.parameters()):
                part.eval()
        return self

    def forward(self, batch: TrainingBatch) -> Losses:
        """Return the losses of a batch."""
        # argmax finds the first answer token; the one before it ends the first question. A later
        # question would let the CAMs see the answers before it.
        last_prompt = batch.answer.int().argmax(1) - 1
        # Padding on the right needs no mask: causal attention never looks ahead.
        hidden = self.hidden_states(
            batch.tokens, batch.features, batch.images, last_prompt, questions=batch.questions
        )
        # Shifted by one: column t of `predicting` is the state that token t of `predicted` is
        # predicted from, for words and for [SEG] alike.
        predicting = hidden[:, :-1]
        predicted = batch.tokens[:, 1:]
        answer = batch.answer[:, 1:]
        # Only answers have a loss: logits of prompts would take T x vocabulary numbers for nothing.
        logits = self.language.lm_head(predicting[answer])
        # Divided by the counts of the whole batch, so that losses of its parts add up to its loss.
        whole = batch.whole or batch.counts()
        text = F.cross_entropy(logits.float(), predicted[answer], reduction="sum") / whole.tokens

        # A [SEG] outside the answers has no mask.
        answered = predicted.masked_fill(~answer, self.ids.pad)
        segments = read_segments(predicting, answered, self.ids.segments, batch.images)
        mask, dice = self._mask_losses(segments, predicting, batch, whole)
        total = self.loss.text * text + self.loss.mask * mask + self.loss.dice * dice
        if self.presence is None:
            return Losses(total, text, mask, dice)
        ends = hidden[torch.arange(len(hidden), device=hidden.device), last_prompt]
        presence = self.presence.loss(ends, self.language.lm_head, batch.presence)
        presence = presence / max(1, whole.asked)
        return Losses(total + self.loss.presence * presence, text, mask, dice, presence)

    def hidden_states(
        self,
        tokens: Tensor,
        features: ImageFeatures,
        images: int,
        last_prompt: Tensor,
        attention: Tensor | None = None,
        cache: DynamicCache | None = None,
        questions: Sequence[str] = (),
    ) -> Tensor:
        """Run the language model over whole sequences, CAMs included.

        Args:
            tokens: (B, T) int64 with I * T_i placeholders a row.
            features: of N images.
            images: I.
            last_prompt: (B,) int64, position of the last prompt token, which conditions the CAMs.
            attention: (B, T) int64, 0 on padding; needed for padding on the left.
            cache: keys and values are added to it; None keeps none, as in training.
            questions: B of them, read where the Q-Former sees the question.

        Returns:
            (B, T, D), after the final norm.

        Raises:
            InputError: a row has another number of placeholders, or a question cannot be read.
        """
        positions = self._image_positions(tokens, images)
        embeddings = self.language.model.embed_tokens(tokens)
        question = self._question(questions, tokens, images)
        # masked_scatter fills placeholders row by row: the order of the images in `features`.
        image_tokens = self.bridge(features.vision, question).to(embeddings.dtype)
        embeddings = embeddings.masked_scatter((tokens == self.ids.image)[..., None], image_tokens)
        position_ids = None
        if attention is not None:
            # Positions count from the first real token, so left padding does not shift a prompt.
            position_ids = (attention.cumsum(1) - 1).clamp_min(0)
        with ExitStack() as contexts:
            layers = decoder_layers(self.language)
            if self.correspondence is not None:
                prefill = self.correspondence.prepare(
                    features, positions, last_prompt, images, question
                )
                contexts.enter_context(self.correspondence.attached(layers, self.bridge, prefill))
            if self.execution.activation_checkpointing and self.training:
                contexts.enter_context(checkpointed(layers))
            hidden: Tensor = self.language.model(
                inputs_embeds=embeddings,
                attention_mask=attention,
                position_ids=position_ids,
                **cache_argument(self.language.model, cache),
            ).last_hidden_state
        return hidden

    def decode_masks(self, segments: SegStates, sam: Tensor, images: int) -> Tensor:
        """Decode every [SEG] on the image of its tag.

        Args:
            segments: M of them.
            sam: (N, C_s, h, w) image embeddings of the batch.
            images: I.

        Returns:
            (M, 4h, 4w) float32 logits.
        """
        image = segments.sample * images + segments.bound()
        logits: Tensor = self.grounding(segments.states, sam, image)
        return logits

    def decode_masks_in_parts(
        self, segments: SegStates, sam: Tensor, images: int, part: int = 64
    ) -> Tensor:
        """Decode as `decode_masks`, at most `part` masks at once.

        Args:
            segments: M of them.
            sam: (N, C_s, h, w) image embeddings of the batch.
            images: I.
            part: masks decoded together.

        Returns:
            (M, 4h, 4w) float32 logits.
        """
        # An answer may hold any number of [SEG], and each takes a copy of its image embedding.
        index = torch.arange(len(segments.sample), device=segments.sample.device)
        starts = range(0, max(1, len(index)), part)
        parts = (segments.select(index[start : start + part]) for start in starts)
        return torch.cat([self.decode_masks(group, sam, images) for group in parts])

    def _question(self, questions: Sequence[str], prompts: Tensor, images: int) -> Question | None:
        """Return the question of every image as the Q-Former reads it, None where it does not.

        Args:
            questions: B of them.
            prompts: (B, T), the prompts they belong to.
            images: I.

        Raises:
            InputError: questions are missing or too long, or nothing can read them.
        """
        if not isinstance(self.bridge, InstructedQFormerProjector):
            return None
        if self.ids.reader is None:
            raise InputError("the Q-Former sees the question, but has no tokenizer to read it")
        if len(questions) != len(prompts):
            raise InputError(
                f"the Q-Former sees the question: {len(prompts)} samples came with {len(questions)}"
            )
        read = self.ids.reader(
            list(questions), padding=True, padding_side="right", return_tensors="pt"
        )
        length, limit = read.input_ids.shape[1], self.bridge.qformer.config.max_position_embeddings
        if length > limit:
            raise InputError(
                f"a question has {length} tokens, the Q-Former reads {limit}",
                "Ask a shorter question.",
            )
        parts = (read.input_ids, read.attention_mask)
        # In the order of the images: those of a sample stand together.
        return Question(*(p.to(prompts.device).repeat_interleave(images, dim=0) for p in parts))

    def _image_positions(self, tokens: Tensor, images: int) -> Tensor:
        """Return the columns (B, I * T_i) of the image placeholders.

        Raises:
            InputError: a row has another number of them.
        """
        # Read from the tokens, never from fixed offsets: a changed prompt moves the columns along.
        expected = images * self.bridge.tokens
        placeholders = tokens == self.ids.image
        counts = placeholders.sum(1)
        if (counts != expected).any():
            raise InputError(
                f"a prompt contains {counts.tolist()} image placeholders, {expected} are needed"
            )
        return placeholders.nonzero()[:, 1].view(tokens.shape[0], expected)

    def _mask_losses(
        self, segments: SegStates, predicting: Tensor, batch: TrainingBatch, whole: Counts
    ) -> tuple[Tensor, Tensor]:
        """Return mask term and Dice of a batch, unweighted.

        Args:
            segments: the [SEG] states of the batch.
            predicting: (B, T - 1, D), all states.
            batch: with the masks.
            whole: counts of the batch that it is a part of.

        Returns:
            Two scalars.

        Raises:
            InputError: [SEG] and masks differ in number or in their images, or the loss is taken
                at original size and the batch does not have the masks at that size.
        """
        # Answers and masks come from two columns of the dataset. Pairing them by position alone
        # would train masks on the wrong phrases wherever the two disagree.
        if not batch.text_only and len(segments.sample) != len(batch.masks):
            raise InputError(
                f"the answers of a batch contain {len(segments.sample)} [SEG] for "
                f"{len(batch.masks)} masks"
            )
        if (segments.image < 0).any():
            raise InputError(
                f"{int((segments.image < 0).sum())} [SEG] of a training batch have no tag of one "
                f"of the {batch.images} images"
            )
        if len(batch.masks) == 0:
            # Zero, but made by the same weights as a mask: a process whose samples have no [SEG]
            # must exchange the same gradients as the others, or they wait for each other.
            image = batch.mask_image.new_zeros(1)
            mask = self.grounding(predicting[:1, 0], batch.features.sam[:1], image)
            nothing = mask.sum() * 0.0
            return nothing, nothing
        logits = self.decode_masks(segments, batch.features.sam, batch.images)
        image = segments.sample * batch.images + segments.bound()
        if not torch.equal(image, batch.mask_image):
            raise InputError("the tags of a training batch name other images than its masks")
        if self.loss.resolution == "original":
            if batch.originals is None:
                raise InputError("a batch has no masks at original size, where the loss is taken")
            return original_mask_losses(logits, batch.originals, image, self.loss, whole)
        extents = batch.extents[image]
        return mask_losses(logits, batch.masks, extents, image, self.loss, whole)
