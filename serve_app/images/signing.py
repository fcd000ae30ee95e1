"""Signs and verifies the links of stored pictures, so that they need no key, cannot be made up and end in time.

Invariants: the signature covers name, expiry and owner together; only the very characters that were signed verify; a
link answers while now < expires. Whoever does not hold a right signature learns nothing, not even that a link has
expired. The owner, where there is one, is for the route to ask for: here it is a text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re

from deployments.errors import Expired, Forbidden

_UNIX_SECONDS = re.compile("[0-9]{1,12}")


class LinkSigner:
    """HMAC-SHA256 with a secret that all replicas share."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, name: str, expires: int, owner: str | None = None) -> str:
        """The signature of a link to picture `name` that ends at `expires` (unix seconds): 43 URL-safe characters."""
        return self._signature(name, str(expires), owner)

    def verify(
        self, name: str, expires: str | None, signature: str | None, now: float, owner: str | None = None
    ) -> None:
        """Accept a link as it arrived, at `now` (unix seconds).

        Raises Forbidden, with one and the same message, where a part is missing, malformed or not as signed, and
        Expired where the link is genuine and its time is over.
        """
        changed = Forbidden("This link is not valid: its path, expiry or signature is missing or was changed.")
        if expires is None or signature is None or not _UNIX_SECONDS.fullmatch(expires):
            raise changed
        if not hmac.compare_digest(_bytes(self._signature(name, expires, owner)), _bytes(signature)):
            raise changed
        if now >= int(expires):
            raise Expired("This link has expired; pictures are kept for a limited time.")

    def _signature(self, name: str, expires: str, owner: str | None) -> str:
        # Unambiguous: `expires` is digits alone, so the first colon ends it, and a list in JSON begins with no digit.
        signed = f"{expires}:{name}" if owner is None else json.dumps([expires, name, owner])
        digest = hmac.new(self._secret, _bytes(signed), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    """UTF-8 that also takes the lone surrogates a hostile URL may decode to, and still tells all texts apart."""
    return text.encode("utf-8", "surrogatepass")
