"""Settings of the documentation; `make docs` builds it."""

from importlib.metadata import version as installed_version
from pathlib import Path

project = "hrat"
author = "The hrat maintainers"
copyright = "The hrat maintainers"
version = release = installed_version("hrat")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

# Docstrings are written for people first: `name` in single backticks is code, as in Markdown.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"hrat {release}"


def _leave_out_empty_folders(app, docname, source):
    """A glob without a match is a warning that Sphinx cannot silence; a build has the results that are there."""
    if docname == "index":
        for folder in ("experiments", "benchmarks"):
            if not any(Path(app.srcdir, folder).glob("*.md")):
                source[0] = source[0].replace(f"{folder}/*\n", "")


def setup(app):
    app.connect("source-read", _leave_out_empty_folders)
