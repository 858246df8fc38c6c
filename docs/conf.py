"""The documents as a site: `sphinx-build -W docs site`. Pages are Markdown; the reference is made from the code."""

from __future__ import annotations

from typing import Any

import leukoscope

project = "Leukoscope"
copyright = "the Leukoscope developers"  # noqa: A001 -- the name is Sphinx's
version = release = leukoscope.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_click"]
exclude_patterns = ["figures", "pictures"]
myst_heading_anchors = 4  # as the pages' own links name them
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True

html_theme = "furo"
html_title = f"Leukoscope {version}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "announcement": "Research use only, never a diagnosis.",
    "source_edit_link": "",
    "top_of_page_buttons": [],
}


def literal_stars(_app: object, _context: object, lines: list[str]) -> None:
    """Help is plain text: its stars (`predictions.*`) are no emphasis."""
    lines[:] = [line.replace("*", r"\*") for line in lines]


def setup(app: Any) -> None:
    for part in ("description", "options", "arguments", "epilog"):
        app.connect(f"sphinx-click-process-{part}", literal_stars)
