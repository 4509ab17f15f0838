"""A page as one HTML file that asks nothing of the network; only its own script, known by its hash, may run in it."""

import base64
import hashlib

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmreflect.report.layout import Page

SCRIPT = "browser.js"


def render(page: Page) -> bytes:
    """Return the file. What a model wrote is text in it: half of a surrogate pair, which is none, becomes `?`."""
    environment = Environment(
        loader=PackageLoader("mmreflect.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, policy = Markup(""), "script-src 'none'"
    if page.has_browser:
        source, _, _ = PackageLoader("mmreflect.report").get_source(environment, SCRIPT)
        script = Markup(source)
        policy = f"script-src 'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
    text = environment.get_template("page.html.jinja").render(page=page, script=script, policy=policy)
    return text.encode("utf-8", "replace")
