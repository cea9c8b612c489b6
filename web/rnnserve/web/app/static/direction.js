// Direction classifiers, known by what their metadata say.

import { axesOf, property } from "./tensors.js";

export function isDirectionClassifier(metadata) {
  const labels = property(metadata, "labels", []);
  const turns = labels.filter((label) => /clockwise/i.test(label));
  const walk = walkInput(metadata);
  const names = new Set(metadata.outputs.map(({ name }) => name));
  return turns.length === 2 && labels.length === 2 && walk !== undefined && ["logits", "output", "h_n"].every((name) => names.has(name));
}

// The one input that has to be sent: (batch, sequence, 2).
export function walkInput(metadata) {
  const required = metadata.inputs.filter((tensor) => !tensor.parameters?.optional);
  const [walk] = required;
  const fits = required.length === 1 && walk.datatype === "FP32" && walk.shape.length === 3 && walk.shape[2] === 2
    && axesOf(walk)[0] === "batch";
  return fits ? walk : undefined;
}
