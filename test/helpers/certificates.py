"""Certificates of servers of tests."""

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM = serialization.Encoding.PEM


def self_signed(folder: Path, host: str, days: int) -> ssl.SSLContext:
    """A server's context with a certificate for this address; it ends in so many days."""
    names = [x509.IPAddress(ipaddress.ip_address(host))]
    return _context(folder / "cert", *_certificate(host, names, days))


def of_authority(folder: Path, hosts: Sequence[str]) -> tuple[Path, ssl.SSLContext]:
    """The file that clients shall trust, and a server's context for hosts that it vouches for."""
    issuer = _certificate("Test authority", [], 1)
    (folder / "ca.pem").write_bytes(issuer[0].public_bytes(PEM))
    leaf = _certificate(hosts[0], [x509.DNSName(host) for host in hosts], 1, issuer)
    return folder / "ca.pem", _context(folder / "chain.pem", *leaf)


def _context(path: Path, made: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(made.public_bytes(PEM) + key.private_bytes(PEM, form, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _certificate(
    name: str,
    names: Sequence[x509.GeneralName],
    days: int,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """With its key; without names it is an authority, without an issuer its own one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer = key if issuer is None else issuer[1]
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=not names, crl_sign=not names,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    of_issuer = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=not names, path_length=None), True),
        (usage, True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(of_issuer), False),
    ]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=days))
    )
    for extension, critical in extensions:
        made = made.add_extension(extension, critical=critical)
    return made.sign(signer, hashes.SHA256()), key
