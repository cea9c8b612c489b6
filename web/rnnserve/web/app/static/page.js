// The page: asks what serves, shows one model at a time, and keeps its numbers alive.

import { askJson, isToken, useToken, whenRefused } from "./api.js";
import { element } from "./dom.js";
import { watch } from "./live.js";
import { showModel } from "./model.js";

const problem = document.getElementById("problem");
const tokenForm = document.getElementById("token");
const tokenText = document.getElementById("token-text");
const list = document.getElementById("models");
const place = document.getElementById("model");

let models = [];
let shown = null;

tokenForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = tokenText.value.trim();
  if (!isToken(text)) {
    problem.textContent = "That is no token: one is a single word of letters, digits and signs.";
    return;
  }
  tokenText.value = "";
  tokenForm.hidden = true;
  problem.textContent = "";
  useToken(text);
  start();
});
whenRefused((error, hadToken) => {
  if (error.status === 401) {
    problem.textContent = hadToken ? "This token is not known to the server: it is mistyped, revoked, or has ended." : "";
  } else {
    problem.textContent = `This token is not enough: ${error.message}`;
  }
  document.getElementById("further").hidden = true; // a browser sends no token with a link
  tokenForm.hidden = false;
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part after "#" names a model
  place.focus();
});
window.addEventListener("hashchange", () => show(true));

async function start() {
  try {
    const [server, overview] = await Promise.all([askJson("/v2"), askJson("/page/models")]);
    document.getElementById("server").textContent = `${server.version} · what serves here`;
    problem.textContent = overview.not_serving
      .map((each) => `${each.name} ${each.version} does not serve: ${each.reason || each.state.toLowerCase()}`).join(" · ");
    models = overview.models;
    show(false);
    watch((sample) => shown?.live(sample), (error) => shown?.silent(error));
  } catch (error) {
    if (tokenForm.hidden) problem.textContent = error.message;
    list.replaceChildren();
    place.replaceChildren();
  }
}

function show(isChosen) {
  const named = decodeURIComponent(location.hash.slice(1));
  const chosen = models.find((each) => each.metadata.name === named) ?? models[0];
  list.replaceChildren(...models.map(({ metadata: { name } }) => element("a", {
    href: `#${encodeURIComponent(name)}`, "aria-current": chosen?.metadata.name === name ? "page" : undefined,
  }, name)));
  if (!chosen) {
    place.replaceChildren(element("p", {}, "No model serves. rnnserve publish puts one into the repository."));
    return;
  }
  shown = showModel(place, chosen);
  if (isChosen) place.focus({ preventScroll: true });
}

start();
