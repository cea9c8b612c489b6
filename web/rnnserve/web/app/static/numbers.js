// Readable numbers, quantiles, and tensors as nested lists.

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

// Estimates a quantile from bucket counts. Like Prometheus, it assumes that values are uniform within a bucket.
// buckets: [[lower bound, upper bound or 0, count], …]. Returns null if there are no requests.
export function quantile(share, buckets) {
  const sorted = buckets.filter((bucket) => bucket[2] > 0).sort((a, b) => a[0] - b[0]);
  let left = share * sorted.reduce((sum, bucket) => sum + bucket[2], 0);
  for (const [lower, upper, count] of sorted) {
    if (left <= count) return upper ? lower + (upper - lower) * left / count : lower;
    left -= count;
  }
  return null;
}

// The increase of each bucket's count.
export function added(before, after) {
  const counts = new Map(before.map(([lower, , count]) => [lower, count]));
  return after.map(([lower, upper, count]) => [lower, upper, count - (counts.get(lower) ?? 0)]);
}

// The sum of several lists of buckets.
export function together(lists) {
  const sum = new Map();
  for (const [lower, upper, count] of lists.flat()) sum.set(lower, [lower, upper, (sum.get(lower)?.[2] ?? 0) + count]);
  return [...sum.values()];
}

export function axesOf(tensor) {
  return (tensor.parameters?.axes ?? "").split(", ");
}

export function property(metadata, name, otherwise) {
  try {
    return JSON.parse(metadata.properties[name]);
  } catch {
    return otherwise;
  }
}

// Maps each output's name to the input that continues from it.
export function statesOf(metadata) {
  return new Map(metadata.outputs
    .filter((tensor) => tensor.parameters?.continues_as)
    .map((tensor) => [tensor.name, tensor.parameters.continues_as]));
}

// The index of the step axis, or -1. This is an axis of variable size, except the batch.
export function stepAxis(tensor) {
  const axes = axesOf(tensor);
  return tensor.shape.findIndex((size, at) => size < 0 && axes[at] !== "batch");
}

export function shapeOf(nested) {
  const shape = [];
  for (let inner = nested; Array.isArray(inner); inner = inner[0]) shape.push(inner.length);
  return shape;
}

export function nest(flat, shape) {
  if (shape.length <= 1) return flat;
  const step = shape.slice(1).reduce((product, size) => product * size, 1);
  return Array.from({ length: shape[0] }, (_, at) => nest(flat.slice(at * step, (at + 1) * step), shape.slice(1)));
}

// Selects one index of an axis and keeps the axis.
export function cut(nested, axis, at) {
  return axis === 0 ? [nested[at]] : nested.map((inner) => cut(inner, axis - 1, at));
}

export function asInput(tensor, text) {
  const nested = JSON.parse(text);
  return { name: tensor.name, datatype: tensor.datatype, shape: shapeOf(nested), text };
}

export function written(value) {
  return JSON.stringify(value).replaceAll("],[", "], [");
}
