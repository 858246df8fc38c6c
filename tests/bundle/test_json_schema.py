"""The JSON schema of `bundle.json`, for programs in other languages, is that of the class that reads it.

Written anew by LEUKOSCOPE_GOLDEN=write pytest tests/bundle/test_json_schema.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from leukoscope.bundle.read import default_bundle
from leukoscope.bundle.schema import BundleFacts
from leukoscope.bundle.seal import SEAL

FILE = Path(__file__).parents[2] / "docs" / "bundle.schema.json"


def schema_of_the_class() -> dict[str, Any]:
    schema = BundleFacts.model_json_schema(mode="validation")
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Checksum of the file: docs/bundle.md."}
    schema["properties"][SEAL] = digest
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "leukoscope-bundle-1"} | schema


def test_the_schema_is_that_of_the_class() -> None:
    text = json.dumps(schema_of_the_class(), indent=1) + "\n"
    if os.environ.get("LEUKOSCOPE_GOLDEN") == "write":
        FILE.write_text(text, encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == text


def test_the_default_bundle_keeps_to_it_and_a_damaged_one_does_not() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(FILE.read_text(encoding="utf-8")))
    facts = json.loads((default_bundle() / "bundle.json").read_text(encoding="utf-8"))
    assert list(check.iter_errors(facts)) == []
    facts["input_size"] = -1
    facts["unknown"] = 1
    assert {error.validator for error in check.iter_errors(facts)} == {"minimum", "additionalProperties"}
