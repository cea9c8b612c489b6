// Shows one model: its description, verification, live statistics, and how to call it.

import { barChart, element, facts, legend, lineChart, panel } from "./charts.js";
import { requestForm, sessionPanel, snippetPanel } from "./forms.js";
import { added, milliseconds, property, quantile, short, statesOf, together } from "./numbers.js";
import { isDirectionClassifier, walkPanel } from "./walk.js";

// Fills `place` and returns the callbacks for samples: {live, silent}.
export function showModel(place, { metadata, example }) {
  const numbers = livePanel(metadata.name);
  const panels = [];
  if (isDirectionClassifier(metadata)) {
    panels.push(walkPanel(metadata));
  } else {
    panels.push(requestForm(metadata, example));
    if (example && keepsStates(metadata)) panels.push(sessionPanel(metadata, example));
  }
  panels.push(servingPanel(metadata), numbers.panel, proofPanel(metadata), tensorsPanel(metadata), snippetPanel(metadata, example));
  place.replaceChildren(
    element("h2", {}, metadata.name),
    element("p", { class: "quiet" }, `version ${metadata.versions.join(", ")} · ${metadata.platform}`),
    element("div", { class: "panels" }, ...panels),
  );
  return numbers;
}

// Whether the model has declared states, which any client can carry, or inferred states, which the server keeps.
function keepsStates(metadata) {
  if (property(metadata, "continuable", false)) return statesOf(metadata).size > 0;
  return metadata.properties.sequences === "kept" && property(metadata, "found_states", []).length > 0;
}

function servingPanel(metadata) {
  const said = metadata.properties;
  const nodes = Object.entries(property(metadata, "nodes", {}))
    .map(([provider, counts]) => `${provider}: ${Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ")}`);
  const batching = {
    padded: "requests of different lengths share a batch: rows are padded",
    joined: "requests of one length share a batch",
    alone: "each request runs alone",
  }[said.batching] ?? "unknown";
  const bits = property(metadata, "batch_invariant", null);
  const labels = property(metadata, "labels", []);
  const found = property(metadata, "found_states", []);
  const signed = property(metadata, "signed", null);
  const kept = found.length ? `on the server, found in the graph: ${found.join(", ")}` : "kept by the client or by the server";
  return panel("How it is served", "", facts([
    ["provider", `${said.provider ?? "unknown"}${said.provider_requested && said.provider_requested !== said.provider ? ` (asked for: ${said.provider_requested})` : ""}`],
    ["graph", `${said.graph ?? "unknown"}${said.graph_reason ? `, ${said.graph_reason}` : ""}`],
    ["nodes", nodes.join("; ") || "unknown"],
    ["batching", `${said.batching ?? ""}: ${batching}`],
    ["bits", bits === null ? "unknown" : bits ? "an answer has the same bits alone and in any batch" : "an answer's last bits may depend on the other requests in its batch"],
    ["states", said.sequences === "kept" ? kept : said.sequences || "none"],
    ["threads", said.threads ?? "unknown"],
    ["signed", signed ? `by the key ${signed.key_id}, as version ${signed.version}, sequence ${signed.sequence}, at ${signed.created}` : "not verified by this server"],
    ["labels", labels.join(", ") || "none"],
  ]));
}

function tensorsPanel(metadata) {
  const of = (tensors) => tensors.map((tensor) => [tensor.name,
    `${tensor.datatype} (${tensor.parameters?.axes ?? ""}) [${tensor.shape.join(", ")}]${tensor.parameters?.optional ? ", optional" : ""}`]);
  return panel("Inputs and outputs", "", element("h4", {}, "Inputs"), facts(of(metadata.inputs)),
    element("h4", {}, "Outputs"), facts(of(metadata.outputs)));
}

const KINDS = ["graph from module", "graph from float64", "module from float64"];

function proofPanel(metadata) {
  const parity = property(metadata, "parity", null);
  if (!parity) {
    const why = metadata.properties.origin === "adopted"
      ? "Imported from an ONNX file: there is no module to compare it with." : "The server has no record of the verification.";
    return panel("Verification", "", element("p", {}, why));
  }
  const rows = parity.distances;
  const compared = `Before it was published, the graph was compared with the module on ${parity.samples} samples.`;
  if (!rows.length)
    return panel("Verification", "", element("p", {}, `${compared} Its outputs have no floats, and they were equal.`));
  const series = KINDS.map((label, index) => ({ label, points: rows.map((row) => [row[0], row[index + 1] ?? NaN]) }));
  const worst = Math.max(...rows.map((row) => row[1] ?? Infinity));
  const exact = parity.exact === "float64" ? "" : ` Whole sequences were compared with ${parity.exact}.`;
  return panel("Verification", "",
    element("p", {}, `${compared} Largest difference: ${short(worst)}.${exact}`),
    lineChart({ series, across: "steps (both axes logarithmic)", logarithmic: true,
      said: `Largest differences by number of steps, from ${rows[0]?.[0]} to ${rows.at(-1)?.[0]}; the table has the numbers` }),
    legend(KINDS),
    element("details", {}, element("summary", {}, "The numbers"), element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table of differences" }, element("table", {},
      element("thead", {}, element("tr", {}, ...["steps", ...KINDS].map((title) => element("th", { scope: "col" }, title)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, element("th", { scope: "row" }, String(row[0])),
        ...row.slice(1).map((value) => element("td", {}, short(value))))))))),
    element("details", {}, element("summary", {}, "What was compared"),
      element("ul", {}, ...parity.checks.map((check) => element("li", {}, check)))),
  );
}

const KEPT = 60, WINDOW = 10;

function livePanel(name) {
  const shown = new Map(["requests/s", "mean time", "p50", "p99", "in the queue", "running", "rows a batch", "refused"]
    .map((title) => [title, element("dd", {}, "–")]));
  const state = element("p", { class: "quiet" }, "Waiting for the first numbers …");
  const rates = element("div"), batches = element("div");
  const samples = [];

  function live(sample) {
    const counts = total(sample, name);
    if (!counts) return silent("the model does not serve now");
    if (samples.length && counts.success < samples.at(-1).success) samples.length = 0; // another version serves
    samples.push(counts);
    if (samples.length > KEPT) samples.shift();
    if (samples.length < 2) return undefined;
    const before = samples.at(-2), done = counts.success - before.success;
    const mean = (key) => (done > 0 ? (counts[key] - before[key]) / done : null);
    const runs = counts.runs - before.runs;
    shown.get("requests/s").textContent = short(rate(before, counts));
    shown.get("mean time").textContent = milliseconds(mean("success_ns"));
    const lately = added(samples.at(-Math.min(samples.length, WINDOW + 1)).durations, counts.durations);
    for (const [title, share] of [["p50", 0.5], ["p99", 0.99]]) {
      const seconds = quantile(share, lately);
      shown.get(title).textContent = seconds === null ? "–" : milliseconds(1e9 * seconds);
    }
    shown.get("in the queue").textContent = milliseconds(mean("queue_ns"));
    shown.get("running").textContent = milliseconds(mean("run_ns"));
    shown.get("rows a batch").textContent = runs > 0 ? short((counts.rows - before.rows) / runs) : "–";
    shown.get("refused").textContent = String(counts.fail);
    state.textContent = `Of the last second, p50 and p99 of the last ${WINDOW} s; ${counts.success} requests answered since the version was loaded.`;
    draw(counts);
    return undefined;
  }

  function draw(counts) {
    const now = samples.at(-1).seconds;
    const points = samples.slice(1).map((each, at) => [each.seconds - now, rate(samples[at], each)]);
    rates.replaceChildren(lineChart({ series: [{ points }], across: "seconds", low: 0, high: 1,
      said: `Requests a second in the last ${points.length} seconds: now ${short(points.at(-1)[1])}` }));
    const bars = [...counts.batches].sort((a, b) => a[0] - b[0]);
    batches.replaceChildren(bars.length
      ? barChart({ bars, across: "rows of a batch, and how many batches had them",
        said: `Batches by their rows: ${bars.map(([rows, count]) => `${count} of ${rows}`).join(", ")}` })
      : element("p", { class: "quiet" }, "No batch yet."));
  }

  function silent(error) {
    state.textContent = `No numbers: ${error}`;
  }

  const titles = [...shown].map(([title, value]) => element("div", {}, element("dt", {}, title), value));
  return {
    live,
    silent,
    panel: panel("Now", "", element("dl", { class: "numbers" }, ...titles), state,
      element("h4", {}, "Requests a second"), rates, element("h4", {}, "Batches"), batches),
  };
}

function rate(before, after) {
  return (after.success - before.success) / (after.seconds - before.seconds);
}

// The counts of a model, summed over its versions.
function total({ seconds, models }, name) {
  const versions = models.filter((model) => model.name === name);
  if (!versions.length) return null;
  const sum = { seconds, batches: new Map() };
  for (const key of ["success", "success_ns", "fail", "queue_ns", "run_ns", "rows", "runs"]) {
    sum[key] = versions.reduce((so_far, version) => so_far + version[key], 0);
  }
  sum.durations = together(versions.map((version) => version.durations));
  for (const [rows, count] of versions.flatMap((version) => version.batches)) {
    sum.batches.set(rows, (sum.batches.get(rows) ?? 0) + count);
  }
  return sum;
}
