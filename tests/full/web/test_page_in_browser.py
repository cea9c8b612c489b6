"""The page in a browser: what people see, hear and press. Skipped where there is no browser to be had.

It needs the packages playwright and axe-playwright-python, and Debian's chromium: `pip install playwright
axe-playwright-python`, `apt-get install chromium`.
"""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from kit.fakes import FakeModels
from kit.gateways import FakeUpstream, running_front, walk_model
from kit.served import served_process
from kit.tokens import tokens_in
from rnnserve.client import Client
from rnnserve.protos import inference_pb2 as pb

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser: {CHROMIUM} is missing")

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CLOCKWISE = [[-1, -1], [-1, 1], [1, 1], [1, -1]]
DESK, PHONE = (1200, 900), (390, 844)
MODELS = ("direction_simple", "direction_bidirectional")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens pages. None may have said an error, nor asked anyone but the gateway."""
    contexts, wrong = [], []

    def open_page(host, path="/", size=DESK, scheme="light", *, fails=False):
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: said.type in ("error", "warning") and not fails and wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: urlsplit(asked.url).netloc != host and wrong.append(asked.url))
        page.on("websocket", lambda opened: urlsplit(opened.url).netloc != host and wrong.append(opened.url))
        page.goto(f"http://{host}{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def assert_readable(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    assert (found := axe.run(page)).violations_count == 0, found.generate_report()


def logits_of(page, points):
    page.wait_for_selector(f"[data-points='{points}']")
    return np.array(json.loads(page.locator("[data-logits]").get_attribute("data-logits")), "f4")


def answers(address, name, walk):
    """What gRPC answers to a walk, asked as the page asks: a point at a time where states are carried."""
    with Client(address) as client:
        wanted = ["logits", "output", "h_n"]
        if name == "direction_bidirectional":
            return client.predict(name, [walk], outputs=wanted)[0]
        carried = client.predict(name, [walk[:1]], outputs=wanted)
        for point in walk[1:]:
            carried = client.predict(name, [[point]], outputs=wanted, continue_from=carried)
        return carried[0]


@pytest.mark.parametrize("name", MODELS)
def test_walks_on_the_page_have_the_bits_of_grpc(web_server, opened, name):
    page = opened(web_server.http_address, f"/#{name}")
    page.get_by_role("button", name="Clockwise", exact=True).click()
    said = logits_of(page, 4)
    assert page.locator(".answerline").inner_text().startswith("clockwise, ")
    assert said.tobytes() == answers(web_server.address, name, CLOCKWISE)["logits"].tobytes()


def count(tensors):
    """A model that counts its steps in its state."""
    walk = tensors["input"]
    state = tensors.get("h_0", np.zeros((1, len(walk), 2), "f4"))
    return {"logits": walk.sum(1), "h_n": state + np.float32(walk.shape[1])}


def test_any_other_model_has_a_form_and_a_session_with_client_side_states(opened):
    upstream = FakeUpstream(FakeModels({"m": walk_model(count, continuable=True)}))
    upstream.answers["ModelStatistics"] = pb.ModelStatisticsResponse()
    with running_front(upstream) as (port, _):
        page = opened(f"127.0.0.1:{port}", size=PHONE)
        form, session = page.locator("section", has_text="Try it"), page.locator("section", has_text="Step by step")
        form.locator("textarea").first.fill("[[[1, 2], [0.5, 0.25]]]")
        form.get_by_role("button", name="Ask", exact=True).click()
        page.wait_for_selector("text=logits [1, 2]")
        assert form.locator("pre").first.inner_text() == "[[1.5,2.25]]"
        assert form.locator("svg.chart").count() == 1  # the series that was sent
        form.locator("textarea").first.fill("[[[1, 2")
        form.get_by_role("button", name="Ask", exact=True).click()
        assert "input is not JSON" in form.get_by_role("alert").inner_text()
        for step in (1, 2, 3):
            session.get_by_role("button", name="Step", exact=True).click()
            page.wait_for_selector(f"text=Step {step} answered")
        states = [
            np.frombuffer(request.raw_input_contents[1], "f4").tolist()
            for method, request, _ in upstream.asked
            if method == "ModelInfer" and len(request.inputs) == 2
        ]
        assert states == [[1, 1], [2, 2]]
        assert_readable(page)
        session.get_by_role("button", name="Start over").click()
        session.get_by_role("button", name="Step", exact=True).click()
        page.wait_for_selector("text=Step 1 answered")
        runs = [request for method, request, _ in upstream.asked if method == "ModelInfer"]
        assert [tensor.name for tensor in runs[-1].inputs] == ["input"]
        page.close()  # it would ask for statistics when the gateway has ended
    assert not any("authorization" in dict(context.metadata) for *_, context in upstream.asked)


@pytest.fixture(scope="module")
def locked(repository, tmp_path_factory):
    tokens = tokens_in(tmp_path_factory.mktemp("locked"))
    with served_process(repository, http_port=0, tokens=tokens.path) as process:
        yield process.http_address, tokens


def give(page, token):
    page.get_by_label("This server asks for a token").fill(token)
    page.get_by_role("button", name="Use it").click()


def test_page_of_a_locked_server_asks_for_a_token_and_explains_a_wrong_one(locked, opened):
    host, tokens = locked
    page = opened(host, fails=True)  # the browser's console tells of each 401
    field, problem = page.get_by_label("This server asks for a token"), page.locator("#problem")
    playwright.expect(field).to_be_visible()
    playwright.expect(problem).to_have_text("")
    assert not page.locator("#further").is_visible()  # to where a browser sends no token
    assert "direction" not in page.content()
    give(page, "two words")
    playwright.expect(problem).to_contain_text("not a token")
    give(page, tokens.unknown)
    playwright.expect(problem).to_contain_text("does not know this token")
    playwright.expect(field).to_be_visible()
    give(page, tokens.metrics)
    playwright.expect(problem).to_have_text("This token is not enough: this call requires another role: infer or admin")
    give(page, tokens.infer)
    page.wait_for_selector("h2:has-text('direction')")
    playwright.expect(problem).to_have_text("")
    playwright.expect(field).to_be_hidden()
    page.goto(f"http://{host}/#direction_simple")
    page.get_by_role("button", name="Clockwise", exact=True).click()
    page.wait_for_selector("[data-points='4']")
    for token in (tokens.infer, tokens.metrics, tokens.unknown):
        assert token not in page.url + page.content()
    kept = page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length")
    assert (kept, page.context.cookies()) == (0, [])


def test_walk_can_be_drawn_by_mouse_and_by_keys(web_server, opened):
    page = opened(web_server.http_address, "/#direction_simple")
    box = page.locator(".square").bounding_box()

    def at(x, y):
        return box["x"] + box["width"] * (0.5 + x / 3.2), box["y"] + box["height"] * (0.5 - y / 3.2)

    page.mouse.move(*at(-1, -1))
    page.mouse.down()
    for corner in CLOCKWISE[1:]:
        page.mouse.move(*at(*corner), steps=5)
    page.mouse.up()
    drawn = logits_of(page, 4)
    assert drawn.tobytes() == answers(web_server.address, "direction_simple", CLOCKWISE)["logits"].tobytes()

    page.locator(".square").focus()
    page.keyboard.press("Escape")
    playwright.expect(page.locator(".answerline")).to_have_text("Draw a walk.")
    for key in ("Enter", "ArrowRight", "Enter", "ArrowUp", "Space", "Enter", "ArrowLeft", "Enter", "Backspace"):
        page.keyboard.press(key)  # the second press on one corner adds nothing
    playwright.expect(page.locator(".square .point")).to_have_count(3)
    keyed = logits_of(page, 3)
    expected = answers(web_server.address, "direction_simple", [[-1, -1], [1, -1], [1, 1]])["logits"]
    assert keyed.tobytes() == expected.tobytes()
    assert page.locator(".answerline").inner_text().startswith("counter-clockwise")
