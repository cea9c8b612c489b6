// The page: asks what serves, shows one model at a time, and keeps its numbers alive.

import { askJson, useToken } from "./api.js";
import { element } from "./dom.js";
import { watch } from "./live.js";
import { showModel } from "./model.js";

const problem = document.getElementById("problem");
const tokenForm = document.getElementById("token");
const list = document.getElementById("models");
const place = document.getElementById("model");

let models = [];
let shown = null;

tokenForm.addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(document.getElementById("token-text").value);
  tokenForm.hidden = true;
  start();
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
    problem.textContent = error.message;
    place.replaceChildren();
    tokenForm.hidden = error.status !== 401;
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
