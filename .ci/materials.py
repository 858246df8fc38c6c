"""A bill of materials of this environment (CycloneDX 1.6 JSON), with the licence of each package, checked.

    python .ci/materials.py FILE.json

Fails where a package states no licence, or one that is not allowed: permissive ones, and weak copyleft of libraries
that are used as they are.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

#: Words that must all be allowed where a licence is an expression; beginnings of what classifiers and texts say.
ALLOWED = re.compile(
    r"(apache|mit|mit-cmu|hpnd|bsd|0bsd|psf|python software|isc|mpl-2|mozilla public|zlib|unlicense|cc0|boost|bsl-1"
    r"|historical permission|3-clause|new bsd|lgpl|gpl-3.0-or-later with gcc|blueoak|libpng|nvidia|licenseref-nvidia"
    r"|the unlicense|(licenseref-)?public.domain|blessing|ijg|libtiff)",
    re.IGNORECASE,
)
#: Packages whose metadata name no licence, or that of files which are not installed, with what their source says.
TOLD_ELSEWHERE = {
    "cuda-toolkit": "LicenseRef-NVIDIA",
    "docutils": "Public Domain AND BSD AND PSF",  # its one GPL file, for Emacs, is not in the wheel
}


def licence_of(package: Distribution) -> str:
    """What its metadata say, in the order of how exact they are; empty where nothing."""
    facts = package.metadata
    if facts["Name"].lower() in TOLD_ELSEWHERE:
        return TOLD_ELSEWHERE[facts["Name"].lower()]
    expression = facts.get("License-Expression")
    if expression:
        return expression.strip()
    named = [line.rpartition(" :: ")[2] for line in facts.get_all("Classifier") or () if line.startswith("License ::")]
    named = [name for name in named if name not in ("OSI Approved", "DFSG approved")]
    if named:
        return " AND ".join(sorted(named))
    text = (facts.get("License") or "").strip()
    return text.splitlines()[0][:80] if text else ""


def is_allowed(licence: str) -> bool:
    """Whether each part of it is; of alternatives one is enough, also within brackets."""
    inner = re.compile(r"\(([^()]* OR [^()]*)\)")
    while alternatives := inner.search(licence):
        stands = "MIT" if is_allowed(alternatives[1]) else "refused"
        licence = licence[: alternatives.start()] + stands + licence[alternatives.end() :]
    return any(
        all(ALLOWED.search(part) for part in re.split(r"\s+AND\s+", choice.strip("() ")))
        for choice in re.split(r"\s+OR\s+", licence)
    ) and bool(licence)


def main() -> int:
    """Write the bill; 1 where a licence is missing or not allowed."""
    packages = sorted(
        {each.metadata["Name"]: each for each in distributions()}.items(), key=lambda each: each[0].lower()
    )
    found = [(name, each.version, licence_of(each)) for name, each in packages]
    components = [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name.lower()}@{version}",
            "licenses": [{"license": {"name": licence or "not stated"}}],
        }
        for name, version, licence in found
    ]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    Path(sys.argv[1]).write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    wrong = [(name, licence or "not stated") for name, _, licence in found if not is_allowed(licence)]
    for name, _, licence in found:
        print(f"{name}: {licence or 'not stated'}")
    for name, licence in wrong:
        print(f"NOT ALLOWED: {name}: {licence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
