// The page: lists the models, shows one at a time, and requests its statistics once per second.

import { askJson, isToken, useToken, whenRefused } from "./api.js";
import { element } from "./charts.js";
import { showModel } from "./model.js";

const PAUSE_MILLISECONDS = 1000;

const problem = document.getElementById("problem");
const tokenForm = document.getElementById("token");
const tokenText = document.getElementById("token-text");
const list = document.getElementById("models");
const place = document.getElementById("model");

let models = [];
let shown = null;
let timer = 0;

tokenForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = tokenText.value.trim();
  if (!isToken(text)) {
    problem.textContent = "That is not a token: a token is a single word of letters, digits and signs.";
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
    problem.textContent = hadToken ? "The server does not know this token: it is mistyped, revoked, or has expired." : "";
  } else {
    problem.textContent = `This token is not enough: ${error.message}`;
  }
  document.getElementById("further").hidden = true; // browsers don't send the token when a user follows a link
  tokenForm.hidden = false;
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part after "#" is a model's name
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
    watch();
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
    place.replaceChildren(element("p", {}, "No model serves. rnnserve publish puts a model into the repository."));
    return;
  }
  shown = showModel(place, chosen);
  if (isChosen) place.focus({ preventScroll: true });
}

// Requests the server's statistics while the tab is visible.
async function watch() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      const said = await askJson("/v2/models/stats");
      shown?.live({ seconds: performance.now() / 1000, models: said.model_stats.map(counts) });
    } catch (error) {
      shown?.silent(error.message);
      if (error.isOfToken) return; // watching resumes when the user enters a new token
    }
  }
  timer = setTimeout(watch, PAUSE_MILLISECONDS);
}

// Counts since the version was loaded. Times are in nanoseconds, summed over requests. Durations are buckets, with bounds
// in seconds: [lower bound, upper bound or 0, count].
function counts({ name, inference_count, execution_count, inference_stats, batch_stats, duration_buckets }) {
  return {
    name,
    success: inference_stats.success.count,
    success_ns: inference_stats.success.ns,
    fail: inference_stats.fail.count,
    queue_ns: inference_stats.queue.ns,
    run_ns: inference_stats.compute_infer.ns,
    rows: inference_count,
    runs: execution_count,
    durations: duration_buckets.map((bucket) => [bucket.lower_bound, bucket.upper_bound, bucket.count]),
    batches: batch_stats.map((batch) => [batch.batch_size, batch.compute_infer.count]),
  };
}

start();
