"""How our client and commands send what a server asks for with UNAUTHENTICATED: its words are for all clients."""

__all__ = ["credentials_hint"]

_TO_SEND = "it is sent with --token-file FILE or RNNSERVE_TOKEN_FILE, and in Python with token_file="
_TO_SHOW = "it is shown with --tls-certificate and --tls-key, and in Python with tls_certificate= and tls_key="


def credentials_hint(said: str) -> str:
    """Say how to send a token, or the certificate that the server's words ask for.

    Args:
        said: The server's words.
    """
    return _TO_SHOW if "client certificate" in said else _TO_SEND
