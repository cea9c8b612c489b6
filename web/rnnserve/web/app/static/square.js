// The square that a walk is drawn in: by mouse and finger, or by keys.

import { drawn } from "./dom.js";

const SIZE = 400, REACH = 1.6; // what is drawn goes from -REACH to REACH in x and y
const CORNERS = [[-1, -1], [-1, 1], [1, 1], [1, -1]];
const APART = 0.3, NEAR = 0.75, STEP = 0.25;
const MOST = 64;

// Of a long walk every fifth point has its number.
const isNumbered = (index, count) => count <= 12 || index === 0 || (index + 1) % 5 === 0;

const place = (value) => SIZE / 2 + value * SIZE / 2 / REACH;
const at = ([x, y]) => [place(x), place(-y)];
const rounded = (value) => Math.round(value * 100) / 100;

// onChange takes the points, [[x, y], …]: a point stays the same object for as long as it stands.
export class Square {
  constructor(onChange, describedBy) {
    this.onChange = onChange;
    this.points = [];
    this.snaps = true;
    this.cursor = [-1, -1];
    this.isDrawing = false;
    this.path = drawn("polyline", { class: "path" });
    this.marks = drawn("g");
    this.mark = drawn("circle", { class: "cursor", r: 14 });
    const [left, top] = at([-1, 1]), side = place(1) - place(-1);
    this.shown = drawn("svg", {
      class: "square", viewBox: `0 0 ${SIZE} ${SIZE}`, tabindex: 0, role: "application",
      "aria-label": "Square to draw a walk in", "aria-describedby": describedBy,
      onpointerdown: (event) => this.begin(event), onpointermove: (event) => this.move(event),
      onpointerup: () => { this.isDrawing = false; }, onpointercancel: () => { this.isDrawing = false; },
      onkeydown: (event) => this.key(event),
    },
    drawn("rect", { class: "side", x: left, y: top, width: side, height: side }),
    ...CORNERS.map((corner) => drawn("circle", { class: "corner", cx: at(corner)[0], cy: at(corner)[1], r: 9 })),
    this.path, this.marks, this.mark);
    this.draw();
  }

  add(point) {
    if (this.points.length >= MOST) return;
    const last = this.points.at(-1);
    if (last && last[0] === point[0] && last[1] === point[1]) return;
    this.set([...this.points, point]);
  }

  undo() { this.set(this.points.slice(0, -1)); }

  clear() { this.set([]); }

  set(points) {
    this.points = points;
    this.draw();
    this.onChange(points);
  }

  begin(event) {
    this.isDrawing = true;
    this.shown.setPointerCapture(event.pointerId);
    this.take(this.under(event), 0);
  }

  move(event) {
    if (this.isDrawing) this.take(this.under(event), APART);
  }

  // A place becomes a point: the corner that it is near, or itself where it is far enough from the last.
  take([x, y], apart) {
    if (this.snaps) {
      const near = CORNERS.find((corner) => Math.hypot(corner[0] - x, corner[1] - y) < NEAR);
      if (near) this.add([...near]);
      return;
    }
    const last = this.points.at(-1);
    if (!last || Math.hypot(last[0] - x, last[1] - y) >= apart) this.add([rounded(x), rounded(y)]);
  }

  under(event) {
    const box = this.shown.getBoundingClientRect();
    const inside = (value) => Math.max(-REACH, Math.min(REACH, value));
    return [inside((event.clientX - box.left) / box.width * 2 * REACH - REACH), inside(REACH - (event.clientY - box.top) / box.height * 2 * REACH)];
  }

  key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (way) {
      const far = this.snaps ? 2 : STEP, most = this.snaps ? 1 : 1.5;
      this.cursor = this.cursor.map((value, axis) => Math.max(-most, Math.min(most, value + way[axis] * far)));
      this.draw();
    } else if (event.key === "Enter" || event.key === " ") {
      this.add([...this.cursor]);
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Escape") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
  }

  // To corners, or free.
  snap(isOn) {
    this.snaps = isOn;
    if (isOn) this.cursor = this.cursor.map((value) => (value < 0 ? -1 : 1));
    this.draw();
  }

  draw() {
    const places = this.points.map(at);
    this.path.setAttribute("points", places.map((each) => each.join(",")).join(" "));
    const seen = new Map();
    this.marks.replaceChildren(...places.flatMap(([x, y], index) => {
      const key = `${x},${y}`, before = seen.get(key) ?? 0, out = x < SIZE / 2 ? -1 : 1;
      seen.set(key, before + 1);
      return [
        drawn("circle", { class: index === places.length - 1 ? "point last" : "point", cx: x, cy: y, r: 6 }),
        isNumbered(index, places.length) ? drawn("text", { class: "order", x: x + out * (14 + 20 * (before % 3)), y: y + 5 + 16 * Math.floor(before / 3), "text-anchor": out < 0 ? "end" : "start" }, String(index + 1)) : "",
      ];
    }));
    const [x, y] = at(this.cursor);
    this.mark.setAttribute("cx", x);
    this.mark.setAttribute("cy", y);
  }
}
