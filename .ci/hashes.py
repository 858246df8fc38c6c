"""The packages of all extras with the SHA-256 of their files, for one platform, for `pip install --require-hashes`.

    python .ci/hashes.py make     writes hashes/cp311-linux-x86_64.txt, or as this interpreter and platform are called
    python .ci/hashes.py check    each file names what constraints.txt names, in the same versions; no network is used
    python .ci/hashes.py name     prints how the file of this interpreter and platform is called

`-c constraints.txt` does not take hashes, and in the mode that takes them every package has to have one, those that
others bring (the GPU libraries of PyTorch) too. So these files are made beside it, by pip's own report on what it would
install. They hold names, versions and digests, no addresses: from where packages come is the installer's matter.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "hashes"
#: Packages that build ours from its source, and are not there afterwards.
BUILD = ("hatchling", "trove-classifiers")
#: GPU libraries: each build of PyTorch names its own versions of them; constraints would forbid other builds.
GPU = ("nvidia-", "cuda-", "triton")
HEAD = """\
# Everything that the extra `dev` installs, which holds all others but `flare`; made by `.ci/hashes.py make`. Use:
#   pip install --require-hashes -r hashes/{name}.txt -c constraints.txt && pip install --no-deps --no-build-isolation .
"""


def here() -> str:
    """This interpreter and platform."""
    return f"cp{sys.version_info[0]}{sys.version_info[1]}-{sys.platform}-{platform.machine().lower()}"


def normal(name: str) -> str:
    """A package's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Version by package, of a file of constraints or of hashes."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", text, re.MULTILINE)
    return {normal(name): version for name, version in found}


def make() -> None:
    """Ask pip what it would install, and write the file of this platform."""
    asked = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-", "-c", "constraints.txt", ".[dev]", BUILD[0]]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *asked], cwd=ROOT, check=True, capture_output=True, text=True
    )
    lines = []
    for package in json.loads(done.stdout)["install"]:
        digest = package["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is not None:  # ours is a folder
            facts = package["metadata"]
            lines.append(f"{facts['name']}=={facts['version']} \\\n    --hash=sha256:{digest}\n")
    FOLDER.mkdir(exist_ok=True)
    text = HEAD.format(name=here()) + "".join(sorted(lines, key=str.lower))
    (FOLDER / f"{here()}.txt").write_text(text, encoding="utf-8")


def faults(constraints: str, hashes: str) -> list[str]:
    """What a file of hashes says otherwise than the constraints."""
    wanted, found = pins(constraints), pins(hashes)
    entries = len(re.findall(r"^[^#\s]", hashes, re.MULTILINE))
    wrong = [f"{name} {version} is not in it" for name, version in wanted.items() if found.get(name) != version]
    more = [name for name in found if name not in wanted and name not in BUILD and not name.startswith(GPU)]
    wrong += [f"{name} is not in constraints.txt" for name in more]
    if len(re.findall(r"^    --hash=sha256:[0-9a-f]{64}$", hashes, re.MULTILINE)) != entries:
        wrong.append("an entry has no hash, or more than one")
    if "://" in hashes:
        wrong.append("it names an address")
    return wrong


def check() -> int:
    """1 where a file does not say what the constraints say, or there is none."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    files = sorted(FOLDER.glob("*.txt"))
    wrong = [
        f"{file.name}: {what}; run: python .ci/hashes.py make"
        for file in files
        for what in faults(constraints, file.read_text(encoding="utf-8"))
    ]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong or not files else 0


if __name__ == "__main__":
    verbs = {"make": make, "check": check, "name": lambda: print(here())}
    sys.exit(verbs[sys.argv[1]]() if sys.argv[1:] and sys.argv[1] in verbs else __doc__)
