"""The page as a browser sees it: its script runs, draws and searches, and the network stays silent.

Debian's chromium, without a window. What a page did is read from its document afterwards.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jepsen_like import report
from tests.report.example_runs import failing_run, long_run
from tests.report.test_report_page import evil_facts

CHROMIUM = shutil.which("chromium")
TIMEOUT_S = 60
STARTS = 2
"""Of a browser that hangs: a headless chromium now and then never ends, whatever the page."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: nobody looks at the page"
)


@dataclass
class Browser:
    """Opens pages, each time as if for the first time."""

    directory: Path

    def document(self, html: str) -> str:
        """Return the document of a page after its script ran."""
        return self._run(html, "--dump-dom")

    def picture(self, html: str, size: str) -> bytes:
        """Return what the page looks like."""
        target = self.directory / "page.png"
        self._run(html, f"--screenshot={target}", f"--window-size={size}", "--hide-scrollbars")
        return target.read_bytes()

    def _run(self, html: str, *arguments: str) -> str:
        assert CHROMIUM is not None
        page, profile = self.directory / "page.html", self.directory / "profile"
        page.write_text(html, encoding="utf-8")
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
            " --disable-background-networking --disable-component-update --disable-sync"
            " --disable-dev-shm-usage"
        )
        command = [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", *arguments]
        for left in reversed(range(STARTS)):
            try:
                done = subprocess.run(
                    [*command, page.as_uri()], capture_output=True, timeout=TIMEOUT_S, check=False
                )
                break
            except subprocess.TimeoutExpired:
                if not left:
                    raise
            finally:
                shutil.rmtree(profile, ignore_errors=True)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()


class Listener:
    """Counts who connects."""

    def __init__(self, listening: socket.socket) -> None:
        self.address: tuple[str, int] = listening.getsockname()
        self.asked = 0
        self.open = True
        self._listening = listening

    def hang_up(self) -> None:
        """Serve until closed."""
        while self.open:
            self._listening.accept()[0].close()
            self.asked += self.open


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server that hangs up on whoever asks it, and counts them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Listener(listening)
        thread = threading.Thread(target=server.hang_up)
        thread.start()
        yield server
        server.open = False
        socket.create_connection(server.address).close()
        thread.join()


def with_script(html: str, script: str) -> str:
    """Return the page with one more script, which its policy allows as the page's own."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = html.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    return html.replace("</body>", f"<script>{script}</script></body>")


def attributes(document: str) -> str:
    """Return what the page's script wrote on the document's first element."""
    found = re.search(r"<html ([^>]*)>", document)
    assert found is not None
    return found[1]


def test_page_of_a_thousand_operations_in_a_browser_answers_its_reader(browser: Browser) -> None:
    facts = failing_run()
    (bad_key,) = facts.impossible
    use = """
      const seen = document.documentElement.dataset;
      seen.bars = document.querySelectorAll("#explorer-timeline .bar").length;
      seen.bad = document.querySelectorAll("#explorer-timeline .bar.bad").length;
      seen.title = document.getElementById("explorer-title").textContent;
      seen.rows = document.querySelectorAll("#keys-table tbody tr").length;
      const box = document.querySelector(".from-right").getBoundingClientRect();
      const target = document.querySelector(".from-right [data-target]").getBoundingClientRect();
      seen.inSight = target.left > box.left && target.right < box.right;
      const search = document.getElementById("search");
      search.value = "R01";
      search.dispatchEvent(new Event("input"));
      seen.found = document.querySelectorAll("#keys-table tbody tr").length;
      document.querySelector("#keys-table tbody button").click();
      seen.opened = document.getElementById("explorer-title").textContent;
      document.getElementById("page-last").click();
      seen.page = document.getElementById("page").value;
      seen.pages = document.getElementById("pages").textContent;
      document.getElementById("copy").click();
    """
    said = attributes(browser.document(with_script(report.render(facts), use)))
    assert 'data-ready="yes"' in said
    assert "data-error" not in said
    assert 'data-bad="1"' in said
    assert f'data-title="Key {bad_key}"' in said
    assert 'data-rows="20"' in said
    assert 'data-in-sight="true"' in said
    assert 'data-found="10"' in said
    assert re.search(r'data-opened="Key r01\d"', said)
    pages = re.search(r'data-pages="(\d+)"', said)
    assert pages is not None
    assert f'data-page="{pages[1]}"' in said


def test_page_of_a_hundred_thousand_operations_in_a_browser_is_small_and_quick(
    browser: Browser,
) -> None:
    facts = long_run(100_000, keys=100)
    html = report.render(facts)
    assert len(html.encode()) < 6_000_000
    use = """
      const seen = document.documentElement.dataset;
      seen.elements = document.querySelectorAll("*").length;
      seen.bars = document.querySelectorAll("#explorer-timeline .bar").length;
      seen.operations = JSON.parse(document.getElementById("data").textContent).keys
        .reduce((sum, key) => sum + key[8][0].length, 0);
      seen.milliseconds = Math.round(performance.now());
    """
    said = attributes(browser.document(with_script(html, use)))
    assert 'data-ready="yes"' in said
    assert "data-error" not in said
    assert 'data-operations="100000"' in said
    assert re.search(r'data-bars="[1-9]', said)
    elements, milliseconds = (
        int(found[1])
        for name in ("elements", "milliseconds")
        if (found := re.search(rf'data-{name}="(\d+)"', said)) is not None
    )
    assert elements < 15_000  # a page scrolls as smoothly as it has few of them
    assert milliseconds < 30_000  # it takes one or two: this is a page that stalls


def test_page_with_hostile_texts_in_a_browser_shows_them_and_runs_nothing(
    browser: Browser,
) -> None:
    document = browser.document(report.render(evil_facts()))
    said = attributes(document)
    assert 'data-ready="yes"' in said
    assert "data-error" not in said
    assert "<img" not in document
    assert document.count("<script") == 2


def test_page_with_a_hole_in_its_escaping_still_runs_and_loads_nothing(
    browser: Browser, listener: Listener
) -> None:
    port = listener.address[1]
    hole = (
        f'<img src="http://127.0.0.1:{port}/image"><script>bad = 1;'
        'document.documentElement.setAttribute("data-evil", "yes")</script>'
        f'<script src="http://127.0.0.1:{port}/script"></script>'
    )
    html = report.render(evil_facts())
    with_hole = html.replace("</main>", f"</main>{hole}")
    said = attributes(browser.document(with_hole))
    assert "data-evil" not in said
    assert listener.asked == 0
    # The same page without its policy would have done both.
    unguarded = re.sub(r"<meta http-equiv=[^>]*>", "", with_hole)
    assert 'data-evil="yes"' in attributes(browser.document(unguarded))
    assert listener.asked > 0


def test_page_without_scripts_in_a_browser_still_tells_the_essentials(browser: Browser) -> None:
    from matplotlib.image import imread

    facts = failing_run()
    html = report.render(facts)
    without = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    document = browser.document(without)
    assert "data-ready" not in attributes(document)
    assert facts.sentence in document
    assert document.count('class="bar ok this bad"') == 1
    assert re.search(r'<div id="explorer" hidden="">', document)
    png = browser.directory / "look.png"
    png.write_bytes(browser.picture(without, "1200,1600"))
    picture = imread(png)
    assert picture.shape[:2] == (1600, 1200)
    reds = (picture[:, :, 0] > 0.6) & (picture[:, :, 1] < 0.25) & (picture[:, :, 2] < 0.25)
    assert reds[:200].sum() > 500, "the verdict's edge is in sight"
    line = reds[400:].sum(axis=0).max()
    assert line > 150, "the line at the impossible operation is in sight without scrolling"
