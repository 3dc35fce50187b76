"""Jobs about tenants."""
