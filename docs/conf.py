"""Settings of the documentation; `make docs` builds it."""

from importlib.metadata import version as installed_version

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
