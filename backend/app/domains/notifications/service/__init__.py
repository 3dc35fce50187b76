"""The verbs of notifications.

`notifying` makes them of events; `listing` shows them and has them read; `streaming` tells of them
while they come; `mailing`; `preferences`.
"""
