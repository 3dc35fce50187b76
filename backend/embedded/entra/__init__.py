"""A stand-in for Entra ID and Microsoft Graph: for tests, and to try a sign-in without either."""
