"""Documents over HTTP, in the families of the verbs."""
