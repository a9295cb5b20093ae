"""Ask the Hub for a dataset once, before `datasets` tries six times to reach it."""

from __future__ import annotations

from pathlib import Path

from mixedparts.errors import InputError, near_names
from mixedparts.files.folders import list_folder

_SECONDS = 10.0


def check_hub_id(name: str) -> None:
    """Check that the Hub can be reached and has a dataset.

    Offline (`HF_HUB_OFFLINE=1`) nothing is asked: `datasets` then reads its cache.

    Args:
        name: OWNER/NAME.

    Raises:
        InputError: the Hub cannot be reached, or has no such dataset that this user may read.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if HF_HUB_OFFLINE:
        return
    folder = f"there is no folder {name}, and as a dataset of the Hub"
    try:
        HfApi().dataset_info(name, timeout=_SECONDS)
    except HFValidationError as error:
        raise InputError(f"{folder} the name cannot be used: {error}", _hint(name)) from None
    except HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        # 401 is the answer for a dataset that does not exist, too. Other errors are the server's,
        # and `datasets` may succeed when it tries again.
        if status not in (401, 403, 404):
            return
        raise InputError(
            f"{folder} it does not exist, or you have no access to it (HTTP {status})", _hint(name)
        ) from None
    # The Hub's client changed its HTTP library (requests, then httpx): their errors share no type.
    except Exception as error:
        raise InputError(
            f"{folder} it cannot be reached: {error}",
            f"{_hint(name)}\nHF_HUB_OFFLINE=1 loads what was downloaded before.",
        ) from None


def _hint(name: str) -> str:
    """Return what helps: a folder of a similar name, or how to build."""
    from mixedparts.storage.locate import BUILD_HINT

    return similar_folder(name) or BUILD_HINT


def similar_folder(name: str) -> str:
    """Return `Did you mean ...?` with folders beside that of a name, and `mixedparts`; or ""."""
    parent = Path(name).parent
    entries = list_folder(parent) if parent.is_dir() else ()
    siblings = [str(Path(entry.path)) for entry in entries if entry.is_dir()]
    # `mixedparts` means the build in data/mixedparts, among others.
    return near_names(name, [*siblings, "mixedparts"]).strip()
