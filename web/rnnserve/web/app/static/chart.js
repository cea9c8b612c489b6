// Lines and bars, drawn by hand.

import { drawn, element } from "./dom.js";
import { short } from "./numbers.js";

const WIDTH = 520, HEIGHT = 210, LEFT = 56, RIGHT = 10, TOP = 10, BOTTOM = 36;

// series: [{label, points: [[x, y], …]}]; said: what a screen reader says of the picture.
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
  if (low === high) { low -= 0.5; high += 0.5; }
  const place = (value) => from + (to - from) * (value - low) / (high - low);
  return Object.assign(place, { low, high });
}
