"""Webhooks: a tenant's events, sent to endpoints of its own choice (docs/webhooks.md).

It listens to every event, and tells that an endpoint was disabled. It lies in the tenant plane.
"""
