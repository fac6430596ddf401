"""The documentation's settings: Sphinx, MyST and Furo.

    make docs

builds it into build/docs with warnings as errors. Nothing is fetched while it is built.
"""

from __future__ import annotations

import sys
from pathlib import Path

import scalewise

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "scalewise"
author = "the scalewise developers"
copyright = author
version = release = scalewise.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
    "public_api",
    "source_modules",
]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["attrs_inline", "deflist", "dollarmath", "colon_fence"]
myst_heading_anchors = 3

napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

# What other projects document is named, not linked: a build needs no network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!scalewise\b).*"),
]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "scalewise"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "friendly"
