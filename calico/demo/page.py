"""The page of the demo, built from Gradio components; nothing in it comes from the network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Base

from calico.demo.answering import Answering, Shown, Upload
from calico.demo.examples import Examples
from calico.predictions.types import SYNTHETIC_NOTE
from mixedparts.exit_codes import failure_message
from mixedparts.records import Task

LOG = logging.getLogger(__name__)
_TASKS = [
    ("The common object", Task.COMMON_OBJECT),
    ("Their common parts", Task.COMMON_PARTS),
    ("Their unique parts", Task.UNIQUE_PARTS),
]
_COLUMNS = ["No.", "Phrase", "Image", "Score", "Pixels", "% of the image"]
# Masks lie on the stored grid, so images are shown on it too. In dark mode, Gradio writes phrases
# black on dark colours. On a narrow screen it breaks lines inside of words, and cuts names of files
# down to two letters; files of an answer cannot be removed, though it shows a button for that. A
# table without rows has nothing to scroll to.
CSS = """
img { image-orientation: none !important; }
.dark #answer .text { color: white !important; }
#answer .text { word-break: normal !important; overflow-wrap: anywhere; }
#files .filename { display: block !important; min-width: 0 !important; overflow-wrap: anywhere; }
#files .filename span { display: inline !important; white-space: normal !important; }
#files td:has(.label-clear-button) { display: none; }
#segments .no-rows .virtual-table-viewport { overflow: hidden !important; }
"""
# The button around Gradio's image has no name for screen readers: the image has no text.
SCRIPT = """
() => {
  const describe = () => {
    for (const image of document.querySelectorAll("#overlay .image-frame img")) {
      image.alt = "The images with the masks of the answer";
    }
  };
  new MutationObserver(describe).observe(document.body, { childList: true, subtree: true });
}
"""
# Names of system fonts: the fonts of other themes are files, of some on another server. The buttons
# and links have colours with enough contrast.
THEME = Base(
    primary_hue="blue",
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_text_color="white",
    button_primary_text_color_dark="white",
    link_text_color="*primary_800",
    link_text_color_dark="*primary_300",
)


def build_page(answering: Answering, examples: Examples, model: str) -> gr.Blocks:
    """Build the page.

    Args:
        answering: the model.
        examples: shown below the images.
        model: name of the checkpoint.

    Returns:
        The page; `serve_page` runs it. Its endpoint `/answer` takes the images in order, the task
        and a question.
    """
    page: gr.Blocks = gr.Blocks(title="CALICO", analytics_enabled=False)
    with page:
        gr.Markdown(_introduction(answering, model))
        slots = _slots(answering.most_images)
        task = gr.Radio(
            [(name, str(value)) for name, value in _TASKS],
            value=str(Task.COMMON_PARTS),
            label="What to look for",
        )
        question = gr.Textbox(
            label="Your own question (optional)",
            placeholder="Empty: the question of the task that is chosen above",
            lines=1,
        )
        button = gr.Button("Answer", variant="primary", elem_id="ask")
        _examples(examples, slots, task, question)
        outputs = _outputs()

        def answer(*values: Any) -> list[Any]:
            return _answered(answering, values)

        gr.on(
            [button.click, question.submit],
            answer,
            inputs=[*slots, task, question],
            outputs=outputs,
            api_name="answer",
            # Gradio would turn images by their EXIF orientation and store them anew. Without its
            # conversion the function gets the files as they were chosen.
            preprocess=False,
        )
    return page


def _introduction(answering: Answering, model: str) -> str:
    lines = ["# CALICO", f"Part masks and an answer for two images. Model: `{model}`"]
    if answering.predictor.synthetic:
        lines.append(f"**This model {SYNTHETIC_NOTE}**")
    return "\n\n".join(lines)


def _slots(number: int) -> list[gr.Image]:
    """Return the places for images: two side by side, those beyond in a closed section."""

    def slot(at: int) -> gr.Image:
        return gr.Image(
            label=f"Image {at + 1}", type="filepath", sources=["upload", "clipboard"], height=260,
            elem_id=f"image-{at + 1}",
        )  # fmt: skip

    with gr.Row():
        slots = [slot(at) for at in range(min(2, number))]
    if number > 2:
        with gr.Accordion(f"More images (up to {number})", open=False), gr.Row():
            slots += [slot(at) for at in range(2, number)]
    return slots


def _examples(
    examples: Examples, slots: list[gr.Image], task: gr.Radio, question: gr.Textbox
) -> None:
    """Add the examples; choosing one fills the images and the task, and empties the rest."""
    rows = []
    for pair in examples.pairs:
        paths = [str(path) for path in pair.images[: len(slots)]]
        rows.append([*paths, *[None] * (len(slots) - len(paths)), pair.task])
    shown = gr.Examples(
        rows, [*slots, task], label=examples.origin, cache_examples=False,
        api_visibility="private",
    )  # fmt: skip
    used = max(len(pair.images) for pair in examples.pairs)
    # Gradio leaves a component as it is where no example has a value for it.
    emptied = [*slots[used:], question]
    shown.dataset.click(
        lambda: [*[None] * len(slots[used:]), ""] if len(emptied) > 1 else "",
        None, emptied, queue=False, show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def _outputs() -> list[Any]:
    """Return the components of an answer, in the order of `_values`."""
    notes = gr.Markdown(elem_id="notes")
    # Not the button "share", which uploads to a server of Hugging Face.
    overlay = gr.Image(
        label="Masks", type="filepath", format="png", interactive=False, elem_id="overlay",
        buttons=["download", "fullscreen"],
    )  # fmt: skip
    answer = gr.HighlightedText(
        label="Answer", elem_id="answer", show_inline_category=False, color_map={}
    )
    table = gr.Dataframe(
        headers=_COLUMNS,
        datatype=["number", "str", "number", "number", "number", "number"],
        label="Masks of the answer",
        interactive=False,
        elem_id="segments",
    )
    files = gr.File(label="Files", file_count="multiple", interactive=False, elem_id="files")
    return [notes, overlay, answer, table, files]


def _answered(answering: Answering, values: tuple[Any, ...]) -> list[Any]:
    """Return the values of `_outputs` for those of the images, the task and the question."""
    *images, task, question = values
    try:
        return _values(answering.ask([_upload(image) for image in images], task, question))
    except Exception as error:
        message, _ = failure_message(error)
        LOG.info("not answered: %s", message)
        # The page shows the text as HTML.
        raise gr.Error(
            escape(message, quote=False).replace("\n", "<br>"), duration=None, print_exception=False
        ) from error


def _upload(value: Mapping[str, Any] | None) -> Upload | None:
    """Return the file of an image component, None if it is empty."""
    if not value or not value.get("path"):
        return None
    path = Path(value["path"])
    return Upload(path, value.get("orig_name") or path.name)


def _values(shown: Shown) -> list[Any]:
    rows = [
        [row.number, row.phrase, row.image, row.score, row.pixels, row.share] for row in shown.rows
    ]
    _, _, overlay, *_ = shown.files
    return [
        "\n".join(f"- {note}" for note in shown.notes),
        str(overlay),
        gr.HighlightedText(value=list(shown.runs), color_map=shown.colours),
        rows,
        [str(file) for file in shown.files],
    ]
