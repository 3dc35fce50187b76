"""Nginx in front of something, configured as docs/links.md says."""

import os
import re
from pathlib import Path

import pytest

from embedded.nginx import NginxServer
from embedded.real import nginx_program
from tests.paths import PROJECT


def documented_proxy(folder: Path, upstream: str) -> NginxServer:
    """With the page's own text, but for address, upstream and TLS."""
    program = nginx_program()
    if program is None:
        if os.environ.get("REQUIRE_REAL_SERVERS"):
            pytest.fail("nginx is required: scripts/services.py install s3")
        pytest.skip("needs nginx")
    page = (PROJECT / "docs/links.md").read_text(encoding="utf-8")
    found = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)
    assert found is not None
    text = re.sub(r"\s+ssl_certificate.*;", "", found[1])
    text = text.replace("listen 443 ssl;", "listen {address};")
    assert "http://s3.internal:9000;" in text
    text = text.replace("http://s3.internal:9000;", f"{upstream};")
    return NginxServer(folder, binary=program, servers=text)
