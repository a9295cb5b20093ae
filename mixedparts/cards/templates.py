"""Templates of cards and pages: texts from a build are data, never markup.

The names, licences and answers in a build come from annotation files, from YAML files of users, or
from a folder that somebody else made. Jinja2 escapes every value for HTML; in Markdown, the filters
`text`, `code` and `link` escape what Markdown reads as markup too.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

# Markup of Markdown inside a line. An underscore between two letters is no emphasis; escaped, it
# would break the links that viewers make of bare addresses.
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
# At the start of a text: headings, lists and quotes.
_BLOCK = re.compile(r"^(\d*)([-+#.)])(?=[\s#]|$)")


def render(package: str, name: str, **values: Any) -> str:
    """Render a template.

    Args:
        package: the package that contains the template.
        name: file name of the template.
        values: the variables of the template.

    Returns:
        The text. Values are escaped for HTML unless a filter returns them as `Markup`.
    """
    return _environment(package).get_template(name).render(values)


@cache
def _environment(package: str) -> Environment:
    # Imported here: a build with nothing to do renders nothing.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # A name that the template uses and no caller gives is an error, not an empty text.
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": _text, "code": _code, "link": _link}
    return environment


def _text(value: object) -> Markup:
    """Return a value as one line of Markdown without any markup."""
    line = _MARKUP.sub(r"\\\g<0>", _one_line(value))
    # Markdown shows an entity as its character. Quotes have no meaning outside of HTML tags.
    return Markup(_BLOCK.sub(r"\1\\\2", escape(line, quote=False)))


def _code(value: object) -> Markup:
    """Return a value as Markdown code, where only backticks and bars have a meaning."""
    return Markup("`" + _one_line(value).replace("`", "'").replace("|", "\\|") + "`")


def _link(title: object, address: object) -> Markup:
    """Return a Markdown link; the title alone if the address is not one of the web."""
    url = _one_line(address or "")
    if not url.startswith(("https://", "http://")):
        return _text(title)
    return Markup(f"[{_text(title)}]({quote(url, safe=':/?#@!$&+,;=%~')})")


def _one_line(value: object) -> str:
    # Control characters would end the line, and with it the table row or list item.
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", str(value)).strip()
