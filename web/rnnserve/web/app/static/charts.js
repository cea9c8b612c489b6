// HTML elements and SVG charts. Text is always set as text, so a model's name never becomes markup.

import { short } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.flatMap(([name, said]) => [
    element("dt", {}, name), element("dd", {}, said),
  ]));
}

export function panel(title, className, ...children) {
  const heading = element("h3", {}, title);
  heading.id = `panel-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return element("section", { class: className, "aria-labelledby": heading.id }, heading, ...children);
}

const WIDTH = 520, HEIGHT = 210, LEFT = 56, RIGHT = 10, TOP = 10, BOTTOM = 36;

// series: [{label, points: [[x, y], …]}]; said: the chart's description for screen readers.
export function lineChart({ series, said, across, logarithmic = false, low, high }) {
  const points = series.flatMap((each) => each.points).filter(([x, y]) => isDrawn(x, y, logarithmic));
  const frame = drawn("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said });
  if (!points.length) return frame;
  const at = logarithmic ? Math.log10 : (value) => value;
  const x = scale(points.map((point) => at(point[0])), LEFT, WIDTH - RIGHT);
  const y = scale([...points.map((point) => at(point[1])), low, high].filter((value) => value !== undefined), HEIGHT - BOTTOM, TOP);
  for (const value of [y.low, (y.low + y.high) / 2, y.high]) {
    frame.append(
      drawn("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      drawn("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(logarithmic ? 10 ** value : value)),
    );
  }
  for (const value of [x.low, x.high]) {
    const anchor = value === x.low ? "start" : "end";
    frame.append(drawn("text", { x: x(value), y: HEIGHT - 20, "text-anchor": anchor }, short(logarithmic ? 10 ** value : value)));
  }
  frame.append(drawn("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, across));
  series.forEach((each, index) => {
    const line = each.points.filter(([a, b]) => isDrawn(a, b, logarithmic)).map(([a, b]) => `${x(at(a)).toFixed(1)},${y(at(b)).toFixed(1)}`);
    frame.append(drawn("polyline", { class: `series series${index % 4}`, points: line.join(" ") }));
    if (line.length === 1) {
      const [cx, cy] = line[0].split(",");
      frame.append(drawn("circle", { class: `series series${index % 4}`, cx, cy, r: 3 }));
    }
  });
  return frame;
}

export function legend(labels) {
  return element("ul", { class: "legend" }, ...labels.map((label, index) => element("li", {},
    drawn("svg", { width: 28, height: 8, viewBox: "0 0 28 8", "aria-hidden": "true" },
      drawn("line", { class: `series series${index % 4}`, x1: 0, x2: 28, y1: 4, y2: 4 })), label)));
}

// bars: [[label, count], …]
export function barChart({ bars, said, across }) {
  const most = Math.max(1, ...bars.map((bar) => bar[1]));
  const height = 120, floor = height - 34, width = Math.min(48, (WIDTH - 20) / Math.max(1, bars.length));
  const frame = drawn("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": said });
  bars.forEach(([label, count], index) => {
    const tall = (floor - 16) * count / most, middle = 10 + width * (index + 0.5);
    frame.append(drawn("rect", { class: "bar", x: middle - width * 0.35, width: width * 0.7, y: floor - tall, height: tall }));
    if (width > 22) frame.append(
      drawn("text", { x: middle, y: floor - tall - 3, "text-anchor": "middle" }, short(count)),
      drawn("text", { x: middle, y: floor + 14, "text-anchor": "middle" }, label),
    );
  });
  frame.append(drawn("text", { x: 10, y: height - 4 }, across));
  return frame;
}

function isDrawn(x, y, logarithmic) {
  return Number.isFinite(x) && Number.isFinite(y) && (!logarithmic || (x > 0 && y > 0));
}

function scale(values, from, to) {
  let low = Math.min(...values), high = Math.max(...values);
  if (low === high) low -= 1; // seconds of one rate: from -1 to 0
  const place = (value) => from + (to - from) * (value - low) / (high - low);
  return Object.assign(place, { low, high });
}

// Hidden states over time, with one column per point and one row per unit. Negative values are blue, positive ones are
// orange, and larger values have a stronger color.

const CELL = 16, STATES_LEFT = 34, STATES_BOTTOM = 22;

// states: the units of each point; marks: [{column, className}], columns to outline; unit: the unit to point at, or -1.
export function statesPicture({ states, said, marks = [], unit = -1 }) {
  const rows = states[0]?.length ?? 0;
  const wide = Math.max(CELL, Math.min(40, 480 / Math.max(1, states.length)));
  const width = STATES_LEFT + wide * states.length + 4, height = CELL * rows + STATES_BOTTOM;
  const frame = drawn("svg", { viewBox: `0 0 ${Math.max(width, 240)} ${height}`, width: Math.max(width, 240), role: "img", "aria-label": said });
  states.forEach((column, at) => {
    column.forEach((value, row) => frame.append(cell(STATES_LEFT + at * wide, row * CELL, wide, value)));
    if (states.length <= 16 || at % 8 === 7) {
      frame.append(drawn("text", { x: STATES_LEFT + (at + 0.5) * wide, y: height - 6, "text-anchor": "middle" }, String(at + 1)));
    }
  });
  for (const row of [0, rows - 1]) {
    if (row !== unit) frame.append(drawn("text", { x: STATES_LEFT - 6, y: row * CELL + 12, "text-anchor": "end" }, String(row)));
  }
  if (unit >= 0) frame.append(drawn("text", { x: STATES_LEFT - 6, y: unit * CELL + 12, "text-anchor": "end" }, `▸ ${unit}`));
  for (const { column, className } of marks) {
    frame.append(drawn("rect", { class: `mark ${className ?? ""}`, x: STATES_LEFT + column * wide + 1, y: 1, width: wide - 2, height: rows * CELL - 2 }));
  }
  return frame;
}

// Named rows of numbers, one below the other.
export function stripPicture({ strips, said }) {
  const left = 104, count = Math.max(...strips.map(([, values]) => values.length)), wide = 22;
  const frame = drawn("svg", { viewBox: `0 0 ${left + count * wide} ${strips.length * 26}`, width: left + count * wide, role: "img", "aria-label": said });
  strips.forEach(([name, values], row) => {
    frame.append(drawn("text", { x: left - 8, y: row * 26 + 16, "text-anchor": "end" }, name));
    values.forEach((value, at) => frame.append(cell(left + at * wide, row * 26, wide, value, 22)));
  });
  return frame;
}

function cell(x, y, width, value, height = CELL) {
  return drawn("rect", {
    class: value < 0 ? "cell low" : "cell high", x, y, width: width - 1, height: height - 1,
    "fill-opacity": Math.min(1, 0.04 + Math.abs(value)).toFixed(3),
  });
}
