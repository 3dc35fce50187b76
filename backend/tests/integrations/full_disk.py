"""A process that fills a disk: prints what became of what was there, as JSON.

python full_disk.py <folder>, a file system of a few MiB.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.integrations.storage import DiskStorage, StorageFull, disk

KEPT = "tenants/tenant_acme/files/aa/bb/kept"
LARGE = "tenants/tenant_acme/incoming/large"
MIB = 1024**2


def main(folder: Path) -> None:
    disk.prepare(folder, check=False)
    storage = DiskStorage(folder, secret_key="x" * 32, public_url="http://localhost")
    storage.put(KEPT, [b"k" * MIB])
    upload = storage.create_multipart(LARGE)
    url = storage.sign_part(LARGE, upload, number=1, size=100 * MIB, expires_in=60)
    grant = storage.redeem_grant(url.rpartition("/")[2], host="localhost")
    refused = []
    for act in (
        lambda: storage.put(LARGE, (b"l" * MIB for _ in range(100))),
        lambda: storage.receive(grant, (b"l" * MIB for _ in range(100))),
    ):
        try:
            act()
        except StorageFull as error:
            refused.append(error.status)
    with storage.open(KEPT) as file:
        whole = file.read() == b"k" * MIB
    storage.put(LARGE, [b"s" * MIB])
    files = sorted(path.name for path in folder.rglob("*") if path.is_file())
    print(json.dumps({"refused": refused, "whole": whole, "files": files}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
