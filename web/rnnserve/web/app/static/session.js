// A session: a step at a time, with the states of the step before. Declared states come and go with each step; those that
// were found in the graph are no part of the interface, and the server keeps them under an id and a key of this tab's own.

import { infer } from "./api.js";
import { element, panel } from "./dom.js";
import { field, readFields } from "./form.js";
import { showOutputs } from "./outputs.js";
import { cut, nest, property, statesOf, stepAxis, written } from "./tensors.js";

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
  const kept = !property(metadata, "continuable", false);
  let carried = [], steps = 0, sequence = newSequence();

  function restart() {
    carried = [];
    steps = 0;
    sequence = newSequence();
    state.textContent = "A new session: states as the model begins with.";
    problem.textContent = "";
    log.replaceChildren();
    last.replaceChildren();
  }

  async function step(event) {
    event.preventDefault();
    problem.textContent = "";
    try {
      const inputs = readFields(fields);
      const outputs = await infer(metadata.name, [...inputs, ...carried], [], kept ? { ...sequence, sequence_start: steps === 0 } : {});
      carried = kept ? [] : [...states].map(([output, input]) => ({
        name: input, datatype: outputs[output].datatype, shape: outputs[output].shape, text: JSON.stringify(outputs[output].data),
      }));
      steps += 1;
      state.textContent = `Step ${steps} answered; its states are ${kept ? "kept for" : "carried to"} the next.`;
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
  return panel("Step by step", "wide", element("p", {}, kept
    ? "The states were found in the graph, and stay on the server; the next step names them by an id, with a key that this tab alone has."
    : "The states stay in this tab, and go with the next step: any connection, any worker can answer it."), form, log, last);
}

function newSequence() {
  return { sequence_id: random(8), sequence_key: random(24) };
}

function random(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
