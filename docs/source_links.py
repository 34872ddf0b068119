"""Point links from the pages into the code to the repository. mkdocs.yml uses this hook.

The pages link to ../src/…, ../tests/… and ../benchmarks/…, so that the links also work in a checkout.
"""

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig

_LINK = re.compile(r"\]\(\.\./((?:src|tests|benchmarks)/[^)]+|[A-Z]+\.md)\)")


def on_page_markdown(markdown: str, *, config: MkDocsConfig, **_: Any) -> str:
    """Return the page with links into the code replaced by links to the repository."""
    repository = config.extra["repository"]
    return _LINK.sub(rf"]({repository}/blob/main/\1)", markdown)
