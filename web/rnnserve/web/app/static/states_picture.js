// Hidden states over time: a column a point, a row a unit; blue below zero, orange above, the stronger the further.

import { drawn } from "./dom.js";

const CELL = 16, LEFT = 34, BOTTOM = 22;

// states: points of units; marks: [{column, className}] are drawn round; unit is the one to point at, or -1.
export function statesPicture({ states, said, marks = [], unit = -1 }) {
  const rows = states[0]?.length ?? 0;
  const wide = Math.max(CELL, Math.min(40, 480 / Math.max(1, states.length)));
  const width = LEFT + wide * states.length + 4, height = CELL * rows + BOTTOM;
  const frame = drawn("svg", { viewBox: `0 0 ${Math.max(width, 240)} ${height}`, width: Math.max(width, 240), role: "img", "aria-label": said });
  states.forEach((column, at) => {
    column.forEach((value, row) => frame.append(cell(LEFT + at * wide, row * CELL, wide, value)));
    if (states.length <= 16 || at % 8 === 7) {
      frame.append(drawn("text", { x: LEFT + (at + 0.5) * wide, y: height - 6, "text-anchor": "middle" }, String(at + 1)));
    }
  });
  for (const row of [0, rows - 1]) {
    if (row !== unit) frame.append(drawn("text", { x: LEFT - 6, y: row * CELL + 12, "text-anchor": "end" }, String(row)));
  }
  if (unit >= 0) frame.append(drawn("text", { x: LEFT - 6, y: unit * CELL + 12, "text-anchor": "end" }, `▸ ${unit}`));
  for (const { column, className } of marks) {
    frame.append(drawn("rect", { class: `mark ${className ?? ""}`, x: LEFT + column * wide + 1, y: 1, width: wide - 2, height: rows * CELL - 2 }));
  }
  return frame;
}

// Rows of numbers below one another, with a name each.
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
