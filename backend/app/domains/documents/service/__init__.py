"""The verbs of documents, by families.

`documents` one document's properties; `receiving` bytes that come; `downloads` bytes that go, and
links; `listing`; `trash`; `versions`; `bulk` many at once; `bundles` many in one ZIP; `files` the
stored objects behind all of them; `quota` what they may take; `reconciliation` store against rows.
"""
