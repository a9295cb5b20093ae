"""Open the file system of an address, and turn what its library raises into one message.

Requests that fail for a passing reason are repeated by the libraries: botocore for `s3://` (server
errors, throttling, time-outs, broken connections), gcsfs for `gs://`, huggingface_hub for `hf://`.
Here they only get their limits.
"""

from __future__ import annotations

import errno
from typing import Any

from mixedparts.errors import (
    EnvironmentFault,
    InputError,
    MixedPartsError,
    UsageError,
    missing_package,
)

# Scheme -> package and the extra of this project that installs it.
_PACKAGES = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
}
# An attempt waits 5 s for a connection and 15 s for bytes. With the pauses between them, five
# attempts of botocore and three rounds of s3fs give up within four minutes.
_ATTEMPTS, _ROUNDS = 5, 3
_CONNECT_SECONDS, _READ_SECONDS = 5, 15
_DOCUMENT = "docs/object-storage.md explains addresses, credentials and limits."
# Whose exceptions are answers of a server or a network, whatever their type is.
_LIBRARIES = (
    "aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "httpx", "huggingface_hub",
    "requests", "s3fs", "urllib3",
)  # fmt: skip


def open_file_system(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path of the address in it.

    Raises:
        UsageError: nothing knows the scheme, or the address names no bucket.
        EnvironmentFault: the package for the scheme is not installed.
    """
    import fsspec

    scheme, _, rest = address.partition("://")
    if not rest.strip("/"):
        raise UsageError(f"{address} names no bucket", f"Write {scheme}://BUCKET/FOLDER.")
    # Never a listing from memory: other machines write there.
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme in ("s3", "s3a"):
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
            # What the user has set for fsspec, in a file or in FSSPEC_S3, comes before.
            **fsspec.config.conf.get("s3", {}).get("config_kwargs", {}),
        }
    try:
        files, path = fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        package, extra = _PACKAGES.get(scheme, (error.name, None))
        named = ImportError(str(error), name=package)
        raise missing_package(named, f"the address {address}", extra) or error from error
    except ValueError as error:
        raise UsageError(
            f"{address}: nothing here reads {scheme}:// ({error})", _DOCUMENT
        ) from None
    except Exception as error:
        raise storage_fault(error, address) from error
    if scheme in ("s3", "s3a"):
        files.retries = _ROUNDS
    return files, str(path).rstrip("/")


def is_storage_error(error: Exception) -> bool:
    """Return whether an exception is an answer of a file system, a server or a network."""
    if isinstance(error, OSError):
        return error.errno not in (errno.ENOSPC, errno.EDQUOT)  # a full disk here
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return not modules.isdisjoint(_LIBRARIES)


def storage_fault(error: Exception, address: str) -> MixedPartsError | Exception:
    """Return the error to raise for what a file system raised at an address.

    Args:
        error: of the library.
        address: what was read or written.

    Returns:
        A message for the user; the error itself if it is no answer of a storage.
    """
    if isinstance(error, MixedPartsError) or not is_storage_error(error):
        return error
    reason = " ".join(str(error).split()) or type(error).__name__
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return InputError(f"{address} is not there: {reason}", "Look at the bucket and the path.")
    if isinstance(error, PermissionError) or "Credential" in kind or "Token" in kind:
        return EnvironmentFault(
            f"{address}: access was refused: {reason}",
            f"Look at the credentials and their rights; {_DOCUMENT}",
        )
    return EnvironmentFault(
        f"{address}: the storage did not answer as expected: {reason}",
        "Run the same command again: it continues where it stopped. " + _DOCUMENT,
    )
