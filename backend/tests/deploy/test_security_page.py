"""docs/security.md names tests that there are, and each requirement once; the bill of materials."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.domains.identity.forgery import FORGERIES
from tests.paths import BACKEND, PROJECT

PAGE: Final = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
TABLE: Final = PAGE.partition("## OWASP ASVS")[2].partition("**Applies, and is not held.**")[0]


def test_every_test_that_it_names_is_there() -> None:
    named = set(re.findall(r"`([a-z_/]+\.py)`", TABLE))
    assert len(named) > 50
    for name in named:
        assert "\ndef test_" in (BACKEND / "tests" / name).read_text(encoding="utf-8"), name


def test_every_requirement_is_named_once() -> None:
    rows = re.findall(r"^\| ([0-9][^|]*) \| `", TABLE, re.MULTILINE)
    found = [number for row in rows for number in re.findall(r"\b\d+\.\d+\.\d+\b", row)]
    assert len(found) == len(set(found)) > 80


def test_there_are_as_many_forged_tokens_as_it_says() -> None:
    assert f"{len(FORGERIES)} forgeries" in PAGE
    assert len(FORGERIES) >= 60


def test_a_bill_of_materials_names_what_is_locked(tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"
    script = str(PROJECT / "scripts" / "sbom.py")
    done = subprocess.run(
        [sys.executable, script, "--output", str(target), "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    bill = json.loads(target.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "tenantry")
    lock = (BACKEND / "requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", lock, re.MULTILINE))
    listed = {(each["name"], each["version"]) for each in bill["components"]}
    assert listed == locked
    assert all(each["purl"].startswith("pkg:pypi/") for each in bill["components"])
    for each in bill["components"]:
        assert any(reference.get("hashes") for reference in each["externalReferences"])
    assert json.loads(done.stdout) == {"file": str(target), "components": len(locked)}
