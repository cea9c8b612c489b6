// Numbers as they are read.

export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

export function milliseconds(nanoseconds) {
  return nanoseconds === null ? "–" : `${short(nanoseconds / 1e6)} ms`;
}

export function softmax(logits) {
  const most = Math.max(...logits);
  const grown = logits.map((logit) => Math.exp(logit - most));
  const sum = grown.reduce((total, each) => total + each, 0);
  return grown.map((each) => each / sum);
}

export function largestAt(values) {
  return values.indexOf(Math.max(...values));
}
