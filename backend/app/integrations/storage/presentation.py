"""How stored bytes are shown: what a user uploaded never becomes a page of ours."""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

# Types that a browser shows without running anything in them. SVG and HTML are not among them.
INLINE_TYPES: Final = frozenset(
    {
        "application/pdf",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/plain",
    }
)


def disposition(name: str, content_type: str, *, inline: bool = False) -> str:
    """Content-Disposition (RFC 6266): the name in ASCII for old clients, exactly for all others.

    Inline only where it is wished for and the type is harmless.
    """
    kind = "inline" if inline and content_type in INLINE_TYPES else "attachment"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r'[\x00-\x1f\x7f"\\%]', "_", plain) or "file"
    exact = quote(name.encode("utf-8", "replace"), safe="")  # RFC 8187
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{exact}"
