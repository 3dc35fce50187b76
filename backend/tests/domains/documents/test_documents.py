"""Documents, beginning with the outsider."""

import io

from tests.cast import Cast


def test_mallory_sees_nothing_of_acme(cast: Cast) -> None:
    made = cast.alice.post(
        cast.acme.documents, data={"file": (io.BytesIO(b"plans"), "plans.txt")}
    ).get_json()
    for path in ("", f"/{made['id']}", f"/{made['id']}/download", f"/{made['id']}/download-url"):
        assert cast.mallory.get(cast.acme.documents + path).status_code == 404
        assert cast.bob.get(cast.acme.documents + path).status_code == 200
