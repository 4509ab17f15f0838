"""A page as one HTML file that asks nothing of the network; only its own script, known by its hash, may run in it."""

import base64
import contextlib
import hashlib

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from mmreflect.files import user_cache
from mmreflect.report.layout import Page

SCRIPT = "browser.js"


class _Compiled(FileSystemBytecodeCache):
    """Templates as they were compiled once, which takes longer than filling them; only a matter of time."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template; what the disk refuses is compiled again next time."""
        with contextlib.suppress(OSError):
            super().dump_bytecode(bucket)


def _environment() -> Environment:
    compiled, folder = None, user_cache("templates")
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        compiled = _Compiled(str(folder))
    return Environment(
        loader=PackageLoader("mmreflect.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=compiled,
    )


def render(page: Page) -> bytes:
    """Return the file. What a model wrote is text in it: half of a surrogate pair, which is none, becomes `?`."""
    environment = _environment()
    script, policy = Markup(""), "script-src 'none'"
    if page.has_browser:
        source, _, _ = PackageLoader("mmreflect.report").get_source(environment, SCRIPT)
        script = Markup(source)
        policy = f"script-src 'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
    text = environment.get_template("page.html.jinja").render(page=page, script=script, policy=policy)
    return text.encode("utf-8", "replace")
