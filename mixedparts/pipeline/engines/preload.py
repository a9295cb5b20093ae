"""What a fork server imports first: importing this module binds it to its main process.

A fork server that is still importing does not notice the end of the main process; the kernel does.
Nothing else imports this module.
"""

import os

from mixedparts.pipeline.engines.follow_parent import die_with_parent
from mixedparts.pipeline.engines.worker_pool import MAIN_PROCESS

# Python starts another fork server if the first one has ended; that one has no such variable.
_main = os.environ.get(MAIN_PROCESS)
die_with_parent(int(_main) if _main else None)
