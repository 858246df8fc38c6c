"""Ask again, alone, what failed among others: kills, signals and browsers share two cores there.

    python .ci/again.py

After a `pytest` that failed, in the project's root. At most `FEW` tests are asked again, one after the other with
nothing beside them; all must pass, and the coverage of the first run must hold. A test that passes only alone is named
at the end: a fault to be understood, not one to be forgotten.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FEW = 3
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main() -> int:
    """0 where all that failed passes alone."""
    names = sorted(json.loads(FAILED.read_text())) if FAILED.is_file() else []
    if not names or len(names) > FEW:
        print(f"{len(names)} tests failed: not asked again")
        return 1
    alone = os.environ | {"PYTEST_ADDOPTS": "-o tmp_path_retention_policy=none"}
    covered = [sys.executable, "-m", "coverage", "report", "--format=total"]
    tested = [sys.executable, "-m", "pytest", *names]
    if subprocess.call(covered) or subprocess.call(tested, env=alone):
        return 1
    for name in names:
        print(f"FAILED AMONG OTHERS, PASSED ALONE: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
