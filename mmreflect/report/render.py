"""A page as one HTML file that asks nothing of the network; only its own script, known by its hash, may run in it."""

import base64
import contextlib
import hashlib
from pathlib import Path

from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from mmreflect.errors import UserError
from mmreflect.files import user_cache, write_atomic
from mmreflect.report.layout import Page

SCRIPT = "browser.js"
_DIGEST = hashlib.sha256().digest_size


class _Compiled(BytecodeCache):
    """Templates as they were compiled once, which takes longer than filling them, each behind its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take a template that is whole; a damaged one would be another page, or end the process."""
        with contextlib.suppress(OSError):
            content = (self._folder / bucket.key).read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
                bucket.bytecode_from_string(content[_DIGEST:])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template; what the disk refuses is compiled again next time."""
        code = bucket.bytecode_to_string()
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(self._folder / bucket.key, hashlib.sha256(code).digest() + code)


def _environment() -> Environment:
    compiled = None
    with contextlib.suppress(UserError):  # there is no home folder
        compiled = _Compiled(user_cache("templates"))
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
