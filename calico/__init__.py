"""CALICO: the reference model for part-focused semantic co-segmentation.

import calico

model = calico.load("runs/tiny")
answer = model("a.jpg", "b.jpg", task="common_parts")
answer.text, answer.segments  # the answer, and a COCO RLE mask with a label for every phrase
answer.overlay().save("overlay.png")
"""

from __future__ import annotations

from mixedparts._renamed import install as _install

TYPE_CHECKING = False  # importing `typing` for it would take longer than all the rest
if TYPE_CHECKING:
    from pathlib import Path

    from calico.inference.device_map import DeviceMap
    from calico.inference.predictor import Predictor

__all__ = ["load"]

_install()


def load(
    checkpoint: str | Path,
    device: str = "auto",
    verify: bool = False,
    device_map: DeviceMap | None = None,
    offload_folder: Path | None = None,
) -> Predictor:
    """Load a trained model that answers questions about images.

    Args:
        checkpoint: folder of a checkpoint, or of a run, whose newest checkpoint is loaded.
        device: "auto" (CUDA if there is a GPU), "cpu", "cuda", "cuda:N" or "mps".
        verify: compare the digest of the frozen weights too; those of trained weights and settings
            are always compared.
        device_map: spreads the model over several devices, in place of `device`: "auto" fills one
            GPU after the other; or module names with devices, such as {"encoders": "cuda:1"}.
        offload_folder: for modules that the map puts on "disk".

    Returns:
        A predictor: call it with images and a task or question.

    Raises:
        InputError: there is no checkpoint, it is damaged, or it does not fit the code.
        UsageError: there is no such kind of device, or the device map cannot be used.
        EnvironmentFault: this machine has no such device, or a package is not installed.
    """
    # Imported here: torch takes seconds, which `import calico` alone must not cost.
    try:
        from calico.inference.predictor import Predictor
    except ModuleNotFoundError as error:
        from mixedparts.errors import missing_package

        raise missing_package(error) or error from error

    return Predictor.from_pretrained(checkpoint, device, verify, device_map, offload_folder)
