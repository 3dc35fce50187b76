"""What lies on a tenants' server, compared with what ought to lie there."""

from app.tenancy.inspection.inventory import Inventory, take_inventory

__all__ = ["Inventory", "take_inventory"]
