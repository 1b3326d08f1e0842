"""Sphinx: `bash tools/docs.sh` builds these pages into build/docs, and fails on a broken link."""

import srnas

project = "srnas"
author = "The srnas authors"
release = version = srnas.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"srnas {release}"
html_show_copyright = False
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
exclude_patterns = ["README.md"]
napoleon_use_ivar = True
