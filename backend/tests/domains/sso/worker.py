"""A process that renews tokens as a job does: a line of tenant and identity in, the outcome out."""

import sys
from uuid import UUID

from app.domains.sso.service import connections
from app.factory import create_app
from app.settings import load_settings

app = create_app(load_settings(for_jobs=True))
sys.stdout.write("ready\n")
sys.stdout.flush()
for line in sys.stdin:
    tenant, identity = map(UUID, line.split())
    with app.app_context():
        outcome = connections.renew(app.extensions["sso"], tenant_id=tenant, identity_id=identity)
    sys.stdout.write(f"{outcome}\n")
    sys.stdout.flush()
