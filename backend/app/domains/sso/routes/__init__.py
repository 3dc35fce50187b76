"""Single sign-on over HTTP: for tenants' owners, and for whoever signs in."""
