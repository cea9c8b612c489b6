// What a model does now: rates and means from the differences of the server's counts.

import { barChart, lineChart } from "./chart.js";
import { element, panel } from "./dom.js";
import { milliseconds, short } from "./numbers.js";
import { added, quantile, together } from "./quantiles.js";

const KEPT = 60, WINDOW = 10;

export function livePanel(name) {
  const shown = new Map(["requests/s", "mean time", "p50", "p99", "in the queue", "in the run", "rows a run", "refused"]
    .map((title) => [title, element("dd", {}, "–")]));
  const state = element("p", { class: "quiet" }, "Waiting for the first two samples …");
  const rates = element("div"), batches = element("div");
  const samples = [];

  function live(sample) {
    const counts = total(sample, name);
    if (!counts) return silent("it does not serve now");
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
    shown.get("in the run").textContent = milliseconds(mean("run_ns"));
    shown.get("rows a run").textContent = runs > 0 ? short((counts.rows - before.rows) / runs) : "–";
    shown.get("refused").textContent = String(counts.fail);
    state.textContent = `In the last second, p50 and p99 in the last ${WINDOW}; ${counts.success} answered since it was loaded.`;
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
      ? barChart({ bars, across: "rows of a run, and how many runs had them",
        said: `Runs by their rows: ${bars.map(([rows, count]) => `${count} of ${rows}`).join(", ")}` })
      : element("p", { class: "quiet" }, "No run yet."));
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

// The counts of all versions of a model together.
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
