// The proof: how far the graph is from the module, by length.

import { legend, lineChart } from "./chart.js";
import { element, panel } from "./dom.js";
import { short } from "./numbers.js";
import { property } from "./tensors.js";

const KINDS = ["graph from module", "graph from float64", "module from float64"];

export function proofPanel(metadata) {
  const parity = property(metadata, "parity", null);
  if (!parity) {
    const why = metadata.properties.origin === "adopted"
      ? "Adopted from an ONNX file: there is no module to compare it with." : "The server tells nothing of the proof.";
    return panel("Proof", "", element("p", {}, why));
  }
  const rows = parity.distances;
  const series = KINDS.map((label, index) => ({ label, points: rows.map((row) => [row[0], row[index + 1] ?? NaN]) }));
  const worst = Math.max(...rows.map((row) => row[1] ?? Infinity));
  const exact = parity.exact === "float64" ? "" : ` Whole sequences were compared with ${parity.exact}.`;
  return panel("Proof", "",
    element("p", {}, `Compared on ${parity.samples} samples before it was published. Largest distance of the graph from the module: ${short(worst)}.${exact}`),
    lineChart({ series, across: "steps (both axes logarithmic)", logarithmic: true,
      said: `Largest distances by number of steps, from ${rows[0]?.[0]} to ${rows.at(-1)?.[0]}; the table has the numbers` }),
    legend(KINDS),
    element("details", {}, element("summary", {}, "The numbers"), element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table of distances" }, element("table", {},
      element("thead", {}, element("tr", {}, ...["steps", ...KINDS].map((title) => element("th", { scope: "col" }, title)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, element("th", { scope: "row" }, String(row[0])),
        ...row.slice(1).map((value) => element("td", {}, short(value))))))))),
    element("details", {}, element("summary", {}, "What was compared"),
      element("ul", {}, ...parity.checks.map((check) => element("li", {}, check)))),
  );
}
