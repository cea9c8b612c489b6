"""Take the pictures of the page anew, docs/images/first_look.png and page.png: `make picture`.

It serves a repository with the three direction classifiers, as `make serve` leaves it, and draws walks in Debian's
chromium.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Browser, FloatRect, Locator, Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "images"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]

ROUND = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
WIDTH, MARGIN = 1100, 6


@contextlib.contextmanager
def serving(repository: Path) -> Iterator[str]:
    """Serve; give the address for HTTP."""
    command = [sys.executable, "-m", "rnnserve.cli", "serve", str(repository), "--grpc-port", "0", "--http-port", "0"]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server,  # noqa: S603 - our own command
    ):
        try:
            lines = [line for _, line in zip(("gRPC", "HTTP"), server.stdout or (), strict=False)]
            if len(lines) < 2:
                log.seek(0)
                sys.exit(log.read().decode())
            yield lines[1].split()[-1]
        finally:
            server.terminate()


def box_of(shown: Locator) -> FloatRect:
    """Where something is shown."""
    box = shown.bounding_box()
    if box is None:
        sys.exit("the page does not show what is to be in the picture")
    return box


def draw(page: Page, walk: Sequence[tuple[int, int]]) -> None:
    """Draw a walk by mouse, and wait for the answer to its last point."""
    box = box_of(page.locator(".square"))
    side = box["width"]  # 3.2 steps of the walk
    for index, (x, y) in enumerate(walk):
        page.mouse.move(box["x"] + side * (0.5 + x / 3.2), box["y"] + side * (0.5 - y / 3.2), steps=5)
        if not index:
            page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(f"[data-points='{len(walk)}']")


def drawn(browser: Browser, host: str, model: str, walk: Sequence[tuple[int, int]]) -> Page:
    """Open the page, and draw: twice, since the first answers on a connection take longer."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
    page.goto(f"http://{host}/#{model}")
    page.get_by_role("button", name="Clockwise", exact=True).wait_for()
    draw(page, walk)
    page.keyboard.press("Escape")
    draw(page, walk)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    return page


def take(host: str) -> None:
    """Take both: the page from its top to the end of the square, and all that is shown of a walk."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = drawn(browser, host, "direction_simple", ROUND)
        square = box_of(page.locator(".square"))
        height = square["y"] + square["height"] + MARGIN
        page.screenshot(path=IMAGES / "first_look.png", clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        page = drawn(browser, host, "direction_bidirectional", ROUND)
        page.locator("section", has_text="Draw a walk").first.screenshot(path=IMAGES / "page.png")
        browser.close()


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    with serving(parser.parse_args().repository) as host:
        take(host)


if __name__ == "__main__":
    main()
