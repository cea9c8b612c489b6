// Panels for any model: a form made from its metadata, a step-by-step session, and example programs.

import { Stream, infer } from "./api.js";
import { element, legend, lineChart, panel } from "./charts.js";
import { asInput, axesOf, cut, largestAt, nest, property, short, statesOf, stepAxis, written } from "./numbers.js";

export function requestForm(metadata, example) {
  const binary = metadata.inputs.filter((tensor) => !tensor.parameters?.optional && tensor.datatype === "FP16").map(({ name }) => name);
  if (binary.length) {
    return panel("Try it", "wide", element("p", {}, `${binary.join(", ")}: JSON, which this page sends, cannot hold FP16. rnnserve.client and tritonclient can send it.`));
  }
  const given = new Map((example?.inputs ?? []).map((tensor) => [tensor.name, written(nest(tensor.data, tensor.shape))]));
  const fields = metadata.inputs.map((tensor) => field(tensor, given.get(tensor.name) ?? ""));
  const [required, optional] = [false, true].map((which) => fields.filter((each) => Boolean(each.tensor.parameters?.optional) === which));
  const problem = element("p", { role: "alert" }), state = element("p", { role: "status", class: "quiet" }), answer = element("div");
  const form = element("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      problem.textContent = "";
      state.textContent = "Asking …";
      try {
        const inputs = readFields(fields);
        const began = performance.now();
        const outputs = await infer(metadata.name, inputs);
        state.textContent = `Answered in ${(performance.now() - began).toFixed(1)} ms, there and back.`;
        answer.replaceChildren(...showOutputs(metadata, outputs, inputs));
      } catch (error) {
        state.textContent = "";
        problem.textContent = error.message;
      }
    },
  }, ...required.map((each) => each.shown),
  optional.length ? element("details", {}, element("summary", {}, "Optional inputs"), ...optional.map((each) => each.shown)) : null,
  element("div", { class: "row" }, element("button", { class: "main" }, "Ask")), problem, state);
  return panel("Try it", "wide", form, answer);
}

function field(tensor, text) {
  const id = `input-${Math.random().toString(36).slice(2)}`;
  const area = element("textarea", { id, rows: 4, spellcheck: "false", autocomplete: "off" });
  area.value = text;
  const said = `${tensor.name}: ${tensor.datatype} (${tensor.parameters?.axes ?? ""}) [${tensor.shape.join(", ")}]`;
  return { tensor, area, shown: element("div", {}, element("label", { for: id }, said), area) };
}

function readFields(fields) {
  return fields.filter((each) => each.area.value.trim()).map(({ tensor, area }) => {
    try {
      return asInput(tensor, area.value);
    } catch {
      area.focus();
      throw new Error(`${tensor.name} is not JSON: numbers in brackets, a bracket an axis (${tensor.parameters?.axes ?? ""})`);
    }
  });
}

// A session sends one step at a time on a stream that keeps the model's state.
export function sessionPanel(metadata, example) {
  const states = statesOf(metadata), continued = new Set(states.values());
  const given = new Map((example?.inputs ?? []).map((tensor) => [tensor.name, nest(tensor.data, tensor.shape)]));
  const taken = metadata.inputs.filter((tensor) => given.has(tensor.name) && !continued.has(tensor.name) && !tensor.parameters?.lengths_of);
  const fields = taken.map((tensor) => {
    const axis = stepAxis(tensor), nested = given.get(tensor.name);
    return field(tensor, written(axis < 0 ? nested : cut(nested, axis, 0)));
  });
  const problem = element("p", { role: "alert" }), state = element("p", { role: "status" });
  const last = element("div"), log = element("ol", { class: "steps", tabindex: 0, "aria-label": "Steps so far" });
  const stream = new Stream(metadata.name);
  let steps = 0;

  function restart() {
    steps = 0;
    state.textContent = "A new session: the model begins with its initial state.";
    problem.textContent = "";
    log.replaceChildren();
    last.replaceChildren();
  }

  async function step(event) {
    event.preventDefault();
    problem.textContent = "";
    try {
      const inputs = readFields(fields);
      await stream.open();
      if (steps && stream.isFresh) {
        restart();
        problem.textContent = "The connection was lost, and the state with it: the session begins again.";
      }
      const outputs = await stream.send(inputs, [], steps ? {} : { sequence_start: true });
      steps += 1;
      state.textContent = `Step ${steps} answered; the next step continues from its state.`;
      const own = Object.fromEntries(Object.entries(outputs).filter(([name]) => !states.has(name)));
      const said = Object.entries(own).map(([name, { data }]) => `${name} ${JSON.stringify(data.slice(0, 4))}${data.length > 4 ? " …" : ""}`);
      log.prepend(element("li", { value: steps }, `${inputs.map((input) => input.text).join(", ")} → ${said.join(", ") || "states"}`));
      last.replaceChildren(...showOutputs(metadata, own));
    } catch (error) {
      problem.textContent = error.message;
    }
  }

  const form = element("form", { onsubmit: step }, ...fields.map((each) => each.shown),
    element("div", { class: "row" }, element("button", { class: "main" }, "Step"),
      element("button", { type: "button", onclick: restart }, "Start over")), problem, state);
  return panel("Step by step", "wide", element("p", {}, "Each step is a frame on one WebSocket, and the next step continues from its state."), form, log, last);
}

const MOST_LINES = 4;
const MOST_CHARACTERS = 20000;

function showOutputs(metadata, outputs, inputs = []) {
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

// The best labels of the first row: one for the whole row, or one for each step.
function bestLabels(nested, labels) {
  let row = nested;
  while (Array.isArray(row[0]?.[0])) row = row[0];
  const scores = Array.isArray(row[0]) ? row : [row];
  return scores.map((each) => `${labels[largestAt(each)]} (${short(Math.max(...each))})`).join(" · ");
}

// The first row of a float tensor with a step axis, as chart lines: one line for each of the first few features.
function seriesOf(tensor, nested) {
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

const NUMPY = {
  BOOL: "bool", INT8: "int8", INT16: "int16", INT32: "int32", INT64: "int64", UINT8: "uint8", UINT16: "uint16",
  UINT32: "uint32", UINT64: "uint64", FP16: "float16", FP32: "float32", FP64: "float64",
};

export function snippetPanel(metadata, example) {
  if (!example) return panel("Call it", "wide", element("p", {}, "Its inputs have no short example in JSON: they are large, or FP16. The OpenAPI document says how they are sent."));
  const inputs = example.inputs.map((tensor) => ({ ...tensor, nested: nest(tensor.data, tensor.shape) }));
  return panel("Call it", "wide",
    snippet("curl", "curl", curl(metadata, inputs)),
    snippet("rnnserve.client", "python", client(metadata, inputs),
      "gRPC, at the address that the server prints; the port is 8001 by default."),
    snippet("tritonclient", "python", triton(metadata, inputs), "pip install 'tritonclient[http]'"),
  );
}

function snippet(title, language, text, note) {
  const copied = element("span", { role: "status" });
  const copy = element("button", { type: "button", "aria-label": `Copy ${title}`, hidden: !navigator.clipboard,
    onclick: async () => { await navigator.clipboard.writeText(text); copied.textContent = "Copied"; } }, "Copy");
  return element("div", {}, element("h4", {}, title), note ? element("p", { class: "quiet" }, note) : null,
    element("pre", { tabindex: 0, role: "group", "aria-label": `Program: ${title}`, "data-snippet": title }, element("code", { class: language }, text)),
    element("div", { class: "row" }, copy, copied));
}

function curl(metadata, inputs) {
  const body = JSON.stringify({ inputs: inputs.map(({ name, datatype, shape, nested }) => ({ name, datatype, shape, data: nested })) });
  return `curl ${shell(`${location.origin}/v2/models/${encodeURIComponent(metadata.name)}/infer`)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${shell(body)}`;
}

function client(metadata, inputs) {
  // rnnserve's client adds the lengths.
  const lengths = new Set(metadata.inputs.filter((tensor) => tensor.parameters?.lengths_of).map((tensor) => tensor.name));
  const arrays = inputs.filter((tensor) => !lengths.has(tensor.name))
    .map(({ name, datatype, nested }) => [name, `np.array(${python(nested)}, "${NUMPY[datatype]}")`]);
  const rows = arrays.length === 1 ? arrays[0][1] : `{${arrays.map(([name, made]) => `${JSON.stringify(name)}: ${made}`).join(", ")}}`;
  return `import numpy as np\nfrom rnnserve.client import Client\n\nrows = ${rows}\n`
    + `with Client("${location.hostname}:8001") as client:\n    for row in client.predict(${JSON.stringify(metadata.name)}, rows):\n        print(row)\n`;
}

function triton(metadata, inputs) {
  const made = inputs.map(({ name, datatype, shape, nested }, at) =>
    `inputs.append(http.InferInput(${JSON.stringify(name)}, ${python(shape)}, "${datatype}"))\n`
    + `inputs[${at}].set_data_from_numpy(np.array(${python(nested)}, "${NUMPY[datatype]}"))\n`).join("");
  const secure = location.protocol === "https:" ? ", ssl=True" : "";
  return `import numpy as np\nimport tritonclient.http as http\n\ninputs = []\n${made}`
    + `with http.InferenceServerClient("${location.host}"${secure}) as client:\n    answer = client.infer(${JSON.stringify(metadata.name)}, inputs)\n`
    + metadata.outputs.map(({ name }) => `    print(${JSON.stringify(name)}, answer.as_numpy(${JSON.stringify(name)}))\n`).join("");
}

function python(value) {
  return written(value).replaceAll("true", "True").replaceAll("false", "False");
}

function shell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
