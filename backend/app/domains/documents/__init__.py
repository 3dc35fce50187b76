"""Documents that a tenant keeps, and the stored files behind them.

The reference domain: others are built like this one. It lies in the tenant plane.
"""
