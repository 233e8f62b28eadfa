"""A content security policy in every page: nothing is loaded from outside the book's own folder.

The policy is a line in the page's head, before anything that loads, so that it holds for a page
opened from a folder and on any server. Links lead anywhere; images, scripts, styles, fonts, frames
and requests come from the book's own folder (`file:`, or the server that the page came from) or are
in the page. The theme, the search and the figures to move need scripts and styles in the page;
MathJax evaluates no text, so no script may.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx

POLICY = {
    "default-src": "'self' file: data: blob: 'unsafe-inline'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self' file:",
}
META = (
    '<meta http-equiv="Content-Security-Policy" content="'
    + "; ".join(f"{kind} {sources}" for kind, sources in POLICY.items())
    + '">\n'
)


def add_policy(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Put the policy in front of the page's other lines about itself."""
    context["metatags"] = META + context.get("metatags", "")


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", add_policy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
