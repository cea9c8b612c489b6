// Programs that ask the model, whole and ready to run.

import { element, panel } from "./dom.js";
import { nest, written } from "./tensors.js";

const NUMPY = {
  BOOL: "bool", INT8: "int8", INT16: "int16", INT32: "int32", INT64: "int64", UINT8: "uint8", UINT16: "uint16",
  UINT32: "uint32", UINT64: "uint64", FP16: "float16", FP32: "float32", FP64: "float64",
};

export function snippetPanel(metadata, example) {
  if (!example) return panel("Ask it", "wide", element("p", {}, "Its inputs have no short example in JSON: they are large, or FP16. The reference says how they are sent."));
  const inputs = example.inputs.map((tensor) => ({ ...tensor, nested: nest(tensor.data, tensor.shape) }));
  return panel("Ask it", "wide",
    snippet("curl", "curl", curl(metadata, inputs)),
    snippet("rnnserve.client", "python", client(metadata, inputs),
      "gRPC, at the address that the server prints: 8001 unless it was told otherwise."),
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
  // Lengths are the client's own to add.
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
