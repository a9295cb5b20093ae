"""The demo application: a page on this machine that asks a trained model about images.

`answering` turns uploads into what the page shows, `examples` prepares images to try, `page` builds
the page of Gradio components, `server` runs it.
"""

from __future__ import annotations

import os

# Gradio reads it before it sends reports about its use to its makers. Nothing leaves this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
