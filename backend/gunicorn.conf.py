"""What gunicorn is told wherever it is started in this folder."""

# Whom to believe about clients is decided once, by TRUSTED_PROXIES (app/core/proxies.py). Of itself
# gunicorn takes the scheme from whoever connects from this machine.
forwarded_allow_ips = ""
