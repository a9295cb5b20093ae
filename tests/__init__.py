"""The tests; what must be set before any library is imported is set here."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# `datasets` reads these when it is imported; a cache of the user's would serve builds of old code.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="mixedparts-tests-")
os.environ["HF_HUB_OFFLINE"] = "1"
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
