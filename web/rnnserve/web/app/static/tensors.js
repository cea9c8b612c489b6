// What metadata say of tensors, and arrays in arrays.

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

// The inputs that continue from outputs, by the outputs' names.
export function statesOf(metadata) {
  return new Map(metadata.outputs
    .filter((tensor) => tensor.parameters?.continues_as)
    .map((tensor) => [tensor.name, tensor.parameters.continues_as]));
}

// The place of the axis of steps, or -1: an axis of any size that is not the batch.
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

// One index of an axis, the axis kept.
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
