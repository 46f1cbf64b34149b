"""Settings of the documentation; `make docs` builds it."""

import os
import re
from importlib.metadata import version as installed_version
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

project = "hrat"
author = "The hrat maintainers"
copyright = "The hrat maintainers"
version = release = installed_version("hrat")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build"]

# Notebooks are kept without outputs and run when the site is built; one that fails fails the build.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # whatever it is outside: pictures go into pages

# Docstrings are written for people first: `name` in single backticks is code, as in Markdown.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Formulas become MathML when the site is built: browsers show it, and nothing is loaded from anywhere.
html_math_renderer = "mathml"

html_theme = "furo"
html_title = f"hrat {release}"


def _leave_out_empty_folders(app, docname, source):
    """A glob without a match is a warning that Sphinx cannot silence; a build has the results that are there."""
    if docname == "index":
        for folder in ("experiments", "benchmarks"):
            if not any(Path(app.srcdir, folder).glob("*.md")):
                source[0] = source[0].replace(f"{folder}/*\n", "")


def _leave_out_links_back(app, pagename, templatename, context, doctree):
    """Pages of source link back under one module's name, which is wrong for what is documented under another's.

    And their index lists Python's built-in module, which has no page.
    """
    if pagename.startswith("_modules/") and "body" in context:
        links = r'<a class="viewcode-back".*?</a>|<li><a href="builtins\.html">.*?</li>'
        context["body"] = re.sub(links, "", context["body"])


def _inline_math(translator, node):
    translator.body.append(convert(node.astext()))
    raise SkipNode


def _display_math(translator, node):
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))
    app.connect("source-read", _leave_out_empty_folders)
    app.connect("html-page-context", _leave_out_links_back)
