"""Under which terms the data sets that we know were published, with the source to cite."""

from __future__ import annotations

from leukoscope.data.manifest import Manifest

_TERMS = {
    "rendered": "Rendered cells: made by Leukoscope, of no patient, under its own licence.",
    "cnmc2019": (
        "C-NMC 2019: CC BY 3.0, ALL Challenge dataset of ISBI 2019 (C-NMC 2019), The Cancer Imaging Archive, "
        "doi:10.7937/tcia.2019.dc64i46r."
    ),
    **dict.fromkeys(
        ("allidb1", "allidb2"),
        "ALL-IDB: given out by its owners on request, under their terms; R. Donida Labati, V. Piuri, F. Scotti: "
        "ALL-IDB, the acute lymphoblastic leukemia image database for image processing, ICIP 2011.",
    ),
}


def licences(manifest: Manifest) -> tuple[str, ...]:
    """Terms of the data sets that a manifest's pictures come from; sources unknown to us are named as such."""
    sets = sorted({record.source.partition("/")[0] for record in manifest.records})
    terms = (_TERMS.get(name, f"{name}: terms not known to Leukoscope; ask its owner.") for name in sets)
    return tuple(dict.fromkeys(terms))
