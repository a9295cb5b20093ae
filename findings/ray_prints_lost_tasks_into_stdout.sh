#!/usr/bin/env bash
# Ray writes about lost tasks into a program's stdout, also when it is told to keep logs off.
#
# Expected: `ray.init(log_to_driver=False, logging_level=CRITICAL)` keeps Ray's words out of a program
# whose stdout is data. The documentation of `log_to_driver` says that it is about output of the worker
# processes, and `logging_level` about Ray's logger; what is left should at most go to stderr.
#
# What happens: a task whose process dies is retried and succeeds. Ray prints "(raylet) A worker died or
# was killed ..." to the STDOUT of the program, in colour, once or more for each lost process. A thread
# of the program listens for errors in every program that is no worker, whatever the two options say,
# and prints them with `is_err: False`. RAY_LOG_TO_DRIVER=0 changes nothing either. So the JSON that the
# program prints cannot be parsed. Without a lost process the same program prints its JSON alone.
#
# Why it matters: tests without faults never show it. In production the output breaks exactly when a
# retry has saved the work, and `program | jq` fails though the exit code is 0.
#
# Needs: bash, python3.11, pip. Prints versions, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/program.py" <<'PYTHON'
import json
import logging
import os
import sys
from pathlib import Path

import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)


@ray.remote(max_retries=3)
def work(mark):
    if mark and not Path(mark).exists():
        Path(mark).touch()
        os._exit(1)
    return 1


answer = ray.get(work.remote(sys.argv[1]))
ray.shutdown()
print(json.dumps({"answer": answer}))
PYTHON
cat > "$work/check.py" <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

work = Path(sys.argv[1])


def lines(mark, **variables):
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **variables}
    done = subprocess.run(
        [sys.executable, work / "program.py", mark], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


print("ray", version("ray"))
quiet = lines("")
lost = lines(str(work / f"mark-{version('ray')}"))
silenced = lines(str(work / f"other-{version('ray')}"), RAY_LOG_TO_DRIVER="0")
print("  no process lost:", quiet)
for title, found in (("one lost", lost), ("one lost, RAY_LOG_TO_DRIVER=0", silenced)):
    print(f"  {title}: {len(found)} lines on stdout, the first: {found[0][:60]!r}")
same = quiet == ['{"answer": 1}'] and all(
    '{"answer": 1}' in found and any("raylet" in line and "died" in line for line in found)
    for found in (lost, silenced)
)
print("  as described" if same else "  CHANGED")
sys.exit(not same)
PYTHON
code=0
for version in 2.60.0 2.40.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet --disable-pip-version-check "ray==$version"
    "$work/$version/bin/python" "$work/check.py" "$work" || code=1
done
exit $code
