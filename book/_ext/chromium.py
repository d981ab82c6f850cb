"""Print where Playwright's own Chromium is; fail if it has none."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    path = Path(playwright.chromium.executable_path)

if not path.exists():
    sys.exit(1)
print(path)
