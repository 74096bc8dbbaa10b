"""Failures of requests in words."""

import errno
import os
import ssl

import aiohttp


def describe(error: BaseException) -> str:
    """Describe an exception in a short text."""
    cause = getattr(error, "certificate_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {cause.verify_message}"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        # The event loop adds the failed call in brackets; strerror is for people.
        # TLS and DNS errors have their own numbers.
        other = isinstance(cause, ssl.SSLError) or (cause.errno or 0) not in errno.errorcode
        return (cause.strerror or str(error)) if other else os.strerror(cause.errno or 0)
    if isinstance(error, aiohttp.ClientResponseError):
        return f"its response is not valid HTTP: {error.message.partition(':')[0]}"
    if isinstance(error, aiohttp.ClientPayloadError):
        # aiohttp adds the status 400, which no server has sent.
        if str(error).startswith("Response payload is not completed"):
            return "the response ended early"
        return " ".join(str(error).rpartition("message:")[2].split())
    return str(error) or type(error).__name__
