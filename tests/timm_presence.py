"""Whether networks of the timm library can be built here."""

from __future__ import annotations

from functools import cache

import pytest

from leukoscope.errors import MissingExtraError
from leukoscope.models.trunk import import_timm

NO_TIMM = "timm cannot be imported here: pip install -c constraints.txt '.[backbones]'"


@cache
def no_timm() -> bool:
    try:
        import_timm()
    except MissingExtraError:
        return True
    return False


needs_timm = pytest.mark.skipif(no_timm(), reason=NO_TIMM)
