"""Make a self-signed TLS certificate for development: FOLDER/tls.crt and FOLDER/tls.key.

A certificate that is there stays, whoever made it, unless --force is given: so the same folder
takes a real one. Names are hosts, `*.example.com` among them, or addresses.

Exit codes: 0 made, or there already; 1 the folder cannot be written; 2 wrong arguments.
"""

import argparse
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 397  # browsers take no longer ones


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="name", help="the first becomes its subject")
    parser.add_argument("--folder", type=Path, default=Path(), help="default: here")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    certificate, key = arguments.folder / "tls.crt", arguments.folder / "tls.key"
    made = arguments.force or not (certificate.exists() and key.exists())
    if made:
        try:
            write(arguments.names, certificate, key)
        except OSError as error:
            print(error, file=sys.stderr)
            return 1
    if arguments.json:
        print(json.dumps({"certificate": str(certificate), "key": str(key), "made": made}))
    else:
        print(f"{certificate}: {'made' if made else 'there already'}")
    return 0


def write(names: list[str], certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    certificate.write_bytes(signed(names, private).public_bytes(serialization.Encoding.PEM))


def signed(names: list[str], private: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.now(UTC)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([alternative(name) for name in names]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .sign(private, hashes.SHA256())
    )


def alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


if __name__ == "__main__":
    sys.exit(main())
