"""What lies on a tenants' server, compared with what ought to lie there."""

from app.tenancy.inspection.inventory import Inventory, database_sizes, take_inventory

__all__ = ["Inventory", "database_sizes", "take_inventory"]
