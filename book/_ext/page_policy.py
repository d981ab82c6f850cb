"""A Content-Security-Policy in every page, as strict as the page's own content allows.

Scripts: the site's own files, and the inline scripts that stand in this very page, by their hashes. No other host, no
frames, no plug-ins, no `eval`. Styles may be inline, because MathJax and the theme write style attributes.
A `<meta>` policy does not bind the worker; `HEADERS` has one for hosts that can set headers.
"""

from __future__ import annotations

import base64
import hashlib
import re

SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL | re.IGNORECASE)
META = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
HANDLER = re.compile(r'(<[a-z][^>]*?)\sonclick="([^"]*)"', re.IGNORECASE)

# Format of Netlify and Cloudflare Pages. The frame rule cannot stand in a page itself.
HEADERS = """\
/*
  Content-Security-Policy: frame-ancestors 'self'; object-src 'none'; base-uri 'self'
  X-Content-Type-Options: nosniff
  Referrer-Policy: strict-origin-when-cross-origin
  Permissions-Policy: camera=(), microphone=(), geolocation=()
/_static/live/worker.mjs
  Content-Security-Policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'
/_static/live/python-*
  Cache-Control: public, max-age=31536000, immutable
/_static/live/ngdlib-*
  Cache-Control: public, max-age=31536000, immutable
/sw.js
  Cache-Control: no-cache
"""


def policy(page: str) -> str:
    """The policy that allows what stands in `page`, and nothing else."""
    hashes = set()
    for attributes, body in SCRIPT.findall(page):
        kind = re.search(r'type="([^"]*)"', attributes)
        runs = kind is None or kind[1] in (
            "",
            "text/javascript",
            "module",
            "application/javascript",
        )
        if runs and "src=" not in attributes and body.strip():
            digest = hashlib.sha256(body.encode()).digest()
            hashes.add(f"'sha256-{base64.b64encode(digest).decode()}'")
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src 'self'", *sorted(hashes)]),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self'",
            "manifest-src 'self'",
            "base-uri 'self'",
            "form-action 'self'",
        ]
    )


def protect(page: str) -> str:
    """The page with its policy in its head; scripts in attributes go to site.js, by name."""
    page = META.sub("", page)
    page = HANDLER.sub(r'\1 data-click="\2"', page)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(page)}">'
    # Behind the character set, which must come early; before anything that loads.
    return re.sub(r"<head>(\s*<meta charset=[^>]*>)?", lambda m: m[0] + meta, page, count=1)
