"""Reference pages of the Python interface, which mkdocstrings fills from the docstrings."""

from __future__ import annotations

from collections.abc import Iterator

FOLDER = "reference/python"
# Page: title, introduction, and names in the order of the page.
PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "mixedparts": (
        "mixedparts",
        "Load, build, check and show datasets. All of these are also names of `mixedparts` itself:"
        " `mixedparts.load_dataset`, `mixedparts.show`, `mixedparts.build` and so on.",
        (
            "mixedparts.loading.load_dataset",
            "mixedparts.notebook.show.show",
            "mixedparts.notebook.commands.sample",
            "mixedparts.notebook.commands.build",
            "mixedparts.notebook.commands.verify",
            "mixedparts.reports.frames.stats",
            "mixedparts.notebook.commands.view",
        ),
    ),
    "masks": (
        "Masks",
        "Masks as COCO run lengths, and their operations.",
        (
            "mixedparts.masks.rle",
            "mixedparts.masks.constructors",
            "mixedparts.masks.operations",
        ),
    ),
    "sources": (
        "Sources",
        "What a reader of a native format uses ([guide](../../add-a-source.md)).",
        (
            "mixedparts.sources.contract.Source",
            "mixedparts.sources.contract.ReadShard",
            "mixedparts.sources.description.describe",
            "mixedparts.records",
            "mixedparts.images.checks.check_image",
            "builders.bases.coco_source",
            "builders.bases.file_source",
        ),
    ),
    "viewer": (
        "Viewer and converters",
        "Pages of samples that do not come from a build, and rows for other libraries.",
        (
            "mixedparts.viewer.page.write_page",
            "mixedparts.viewer.samples",
            "mixedparts.viewer.panels",
            "mixedparts.interchange.converters.supervision_detections.to_supervision",
            "mixedparts.interchange.converters.fiftyone_dataset.to_fiftyone",
            "mixedparts.interchange.converters.regions.class_names",
        ),
    ),
    "calico": (
        "calico",
        "Load a model and ask it.",
        (
            "calico.load",
            "calico.inference.predictor.Predictor",
            "calico.inference.answer.VisualAnswer",
            "calico.inference.transformers_auto",
        ),
    ),
    "evaluation": (
        "Evaluation",
        "Read, write and score predictions.",
        (
            "calico.predictions.types",
            "calico.predictions.files",
            "calico.evaluation.tables.folder.scores",
            "calico.evaluation.scoring.score",
            "calico.evaluation.summary.summarise",
            "calico.evaluation.in_memory.evaluate_model",
        ),
    ),
    "configuration": (
        "Configuration",
        "Configurations as values ([all keys](../configuration/model.md)).",
        (
            "mixedparts.pipeline.config.BuildConfig",
            "calico.config.presets",
            "calico.config.yaml_io",
        ),
    ),
    "errors": (
        "Errors",
        "What functions raise for bad input.",
        ("mixedparts.errors",),
    ),
}


def python_pages() -> Iterator[tuple[str, str]]:
    """Yield the path of every page below the documentation, and its Markdown."""
    for page, (title, introduction, names) in PAGES.items():
        blocks = "\n\n".join(f"::: {name}" for name in names)
        yield f"{FOLDER}/{page}.md", f"# {title}\n\n{introduction}\n\n{blocks}\n"
