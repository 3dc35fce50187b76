"""What happens in a tenant, for all its members: a feed made of events, by their types alone."""
