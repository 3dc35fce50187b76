"""The tenants' logins that this process has opened."""

import threading
from collections import OrderedDict
from typing import Final

from app.core.secrets import SecretBox
from app.tenancy.credentials import Credentials
from app.tenancy.locations import TenantLocation

# Some 600 bytes each. Tenants share fewer connections than there are tenants, so that many requests
# open one: what opens secrets, perhaps over a network, is not to be asked each time.
_HELD: Final = 10_000


class Logins:
    """Opens a login once, and holds those that were used last.

    They are known by what is sealed: a new login, or one that was sealed anew, is opened anew.
    """

    def __init__(self, secrets: SecretBox) -> None:
        self._secrets = secrets
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, str], Credentials] = OrderedDict()

    def of(self, location: TenantLocation) -> Credentials:
        """The login of a tenant's role.

        Raises:
            SecretUnreadable, Unavailable: it cannot be opened, and is not held.
        """
        key = (location.context, location.sealed_credentials)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        opened = Credentials.loads(self._secrets.open(key[1], context=key[0]))
        with self._lock:
            self._held[key] = opened
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return opened

    def forget(self, location: TenantLocation) -> None:
        with self._lock:
            self._held.pop((location.context, location.sealed_credentials), None)
