// Asks any model: a field an input, made from the metadata, and the answer with labels and lines.

import { infer } from "./api.js";
import { element, panel } from "./dom.js";
import { showOutputs } from "./outputs.js";
import { asInput, nest, written } from "./tensors.js";

export function requestForm(metadata, example) {
  const binary = metadata.inputs.filter((tensor) => !tensor.parameters?.optional && tensor.datatype === "FP16").map(({ name }) => name);
  if (binary.length) {
    return panel("Try it", "wide", element("p", {}, `${binary.join(", ")}: FP16 has no form in JSON, which this page sends. rnnserve.client and tritonclient send it.`));
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
  optional.length ? element("details", {}, element("summary", {}, "What may be left out"), ...optional.map((each) => each.shown)) : null,
  element("div", { class: "row" }, element("button", { class: "main" }, "Ask")), problem, state);
  return panel("Try it", "wide", form, answer);
}

export function field(tensor, text) {
  const id = `input-${Math.random().toString(36).slice(2)}`;
  const area = element("textarea", { id, rows: 4, spellcheck: "false", autocomplete: "off" });
  area.value = text;
  const said = `${tensor.name}: ${tensor.datatype} (${tensor.parameters?.axes ?? ""}) [${tensor.shape.join(", ")}]`;
  return { tensor, area, shown: element("div", {}, element("label", { for: id }, said), area) };
}

export function readFields(fields) {
  return fields.filter((each) => each.area.value.trim()).map(({ tensor, area }) => {
    try {
      return asInput(tensor, area.value);
    } catch {
      area.focus();
      throw new Error(`${tensor.name} is not JSON: numbers in brackets, a bracket an axis (${tensor.parameters?.axes ?? ""})`);
    }
  });
}
