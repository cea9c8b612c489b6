// An answer: labels where they are the model's, lines where numbers go over steps, and the numbers.

import { legend, lineChart } from "./chart.js";
import { element } from "./dom.js";
import { largestAt, short } from "./numbers.js";
import { axesOf, nest, property, stepAxis } from "./tensors.js";

const MOST_LINES = 4;
const MOST_CHARACTERS = 20000;

export function showOutputs(metadata, outputs, inputs = []) {
  const labels = property(metadata, "labels", []);
  const pictures = inputs.map((input) => seriesOf(metadata.inputs.find(({ name }) => name === input.name), JSON.parse(input.text)));
  return [
    ...pictures.filter(Boolean),
    ...metadata.outputs.filter(({ name }) => outputs[name]).flatMap((tensor) => {
      const { shape, data } = outputs[tensor.name];
      const nested = nest(data, shape), text = JSON.stringify(nested);
      const best = labels.length && shape.at(-1) === labels.length ? bestLabels(nested, labels) : null;
      return [
        element("h4", {}, `${tensor.name} [${shape.join(", ")}]`),
        best && element("p", {}, best),
        seriesOf(tensor, nested),
        element("pre", { class: "answer", tabindex: 0, role: "group", "aria-label": `Numbers of ${tensor.name}` },
          text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text),
      ].filter(Boolean);
    }),
  ];
}

// Labels of the first row: of its answer, or of each step's.
function bestLabels(nested, labels) {
  let row = nested;
  while (Array.isArray(row[0]?.[0])) row = row[0];
  const scores = Array.isArray(row[0]) ? row : [row];
  return scores.map((each) => `${labels[largestAt(each)]} (${short(Math.max(...each))})`).join(" · ");
}

// The first row of a float tensor that has steps, as lines: one a feature, the first few.
export function seriesOf(tensor, nested) {
  const axis = stepAxis(tensor), axes = axesOf(tensor);
  if (!tensor.datatype.startsWith("FP") || axis < 0) return null;
  let steps = nested;
  if (axes[0] === "batch") steps = steps[0];
  else if (axes[1] === "batch") steps = steps.map((step) => step[0]);
  if (!Array.isArray(steps) || steps.length < 2) return null;
  const rows = steps.map((step) => [step].flat(Infinity));
  const count = Math.min(MOST_LINES, rows[0].length);
  const series = Array.from({ length: count }, (_, at) => ({ points: rows.map((row, step) => [step + 1, row[at] ?? NaN]) }));
  const names = series.map((_, at) => `${tensor.name} ${at}`);
  const chart = lineChart({ series, across: "steps", said: `${tensor.name} over ${rows.length} steps, the first row; the numbers follow` });
  return element("div", {}, chart, rows[0].length > 1 ? legend(names) : null);
}
