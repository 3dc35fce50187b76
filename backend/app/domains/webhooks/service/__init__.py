"""The verbs of webhooks.

`endpoints` are what a tenant's administrators keep, `deliveries` what becomes of an event,
`sending` one attempt. What is sent and when is in the tenant's database; that somebody looks is a
job of the main one.
"""
