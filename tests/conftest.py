"""What all tests share: where the real data is, if anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from clustered import MakeScores, clustered_scores

settings.register_profile("leukoscope", deadline=None)  # a busy machine is no failure
settings.load_profile("leukoscope")


def data_root() -> Path:
    """Folder of the real data sets: the environment variable LEUKOSCOPE_DATA, or ../shared/data."""
    return Path(os.environ.get("LEUKOSCOPE_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real data, or a skip that says why."""
    root = data_root()
    if not root.is_dir():
        pytest.skip(f"real data not found at {root}; set LEUKOSCOPE_DATA")
    return root


@pytest.fixture
def make_scores() -> MakeScores:
    """Answers drawn at random, whose pictures resemble each other within a patient group."""
    return clustered_scores
