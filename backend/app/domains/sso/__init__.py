"""Single sign-on: a tenant's members sign in with its own directory, Microsoft Entra ID."""
