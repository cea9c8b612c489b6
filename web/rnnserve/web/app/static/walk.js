// Panel for a direction classifier: the user draws a walk and sees how the prediction changes with each point.

import { Stream, infer } from "./api.js";
import { drawn, element, lineChart, panel, statesPicture, stripPicture } from "./charts.js";
import { axesOf, largestAt, nest, property, short, softmax } from "./numbers.js";

const CLOCKWISE = [[-1, -1], [-1, 1], [1, 1], [1, -1]];

export function walkPanel(metadata) {
  const labels = property(metadata, "labels", []);
  const asker = new WalkAsker(metadata);
  const answer = element("p", { class: "answerline", role: "status" }, "Draw a walk.");
  const details = element("p", { class: "quiet" }, " "), problem = element("p", { role: "alert" });
  const trace = element("div"), states = element("div");
  let wanted = null, isAsking = false;

  // Points may arrive faster than responses. In that case, the next request is for the newest walk.
  async function change(points) {
    wanted = points;
    if (isAsking) return;
    isAsking = true;
    while (wanted) {
      const walk = wanted;
      wanted = null;
      try {
        await asker.follow(walk);
        problem.textContent = "";
        show();
      } catch (error) {
        problem.textContent = error.message;
      }
    }
    isAsking = false;
  }

  function show() {
    const steps = asker.steps;
    if (!steps.length) {
      answer.textContent = "Draw a walk.";
      details.textContent = " ";
      trace.replaceChildren();
      states.replaceChildren();
      return;
    }
    const chances = steps.map((step) => softmax(step.logits)), now = chances.at(-1), best = largestAt(now);
    answer.textContent = `${labels[best]}, ${(100 * now[best]).toFixed(1)} %`;
    answer.dataset.logits = JSON.stringify(steps.at(-1).logits);
    answer.dataset.points = String(steps.length);
    details.textContent = `${steps.length} ${steps.length === 1 ? "point" : "points"}; the last answer took ${asker.milliseconds.toFixed(1)} ms, there and back; ${asker.carries ? "only the new point was sent, over a WebSocket" : "the whole walk was sent"}.`;
    const turn = labels.findIndex((label) => /^clockwise/i.test(label)), shown = turn < 0 ? 0 : turn;
    trace.replaceChildren(lineChart({
      series: [{ points: chances.map((each, at) => [at + 1, each[shown]]) }], across: `points; upwards: chance of ${labels[shown]}`, low: 0, high: 1,
      said: `Chance of ${labels[shown]} after each point: ${chances.map((each) => each[shown].toFixed(2)).join(", ")}`,
    }));
    states.replaceChildren(...(asker.carries ? carriedStates(steps, labels) : bothDirections(asker.whole)));
  }

  const help = element("p", { id: "square-help", class: "quiet" },
    "Drag or tap from corner to corner. By keys: arrows move, Enter sets a point, Backspace takes one back, Escape clears.");
  const square = new Square(change, help.id);
  const button = (text, onclick, name = "") => element("button", { type: "button", class: name, onclick }, text);
  return panel("Draw a walk", "wide walk",
    element("div", { class: "walkgrid" },
      element("div", {}, square.shown, help,
        element("div", { class: "row" },
          button("Clockwise", () => square.set(CLOCKWISE.map((point) => [...point]))),
          button("Counter-clockwise", () => square.set(CLOCKWISE.toReversed().map((point) => [...point]))),
          button("Undo", () => square.undo()), button("Clear", () => square.clear())),
        element("label", { class: "inline" }, element("input", { type: "checkbox", checked: true, onchange: (event) => square.snap(event.target.checked) }),
          "To corners, as the model was trained; between them its answer is a guess")),
      element("div", {}, answer, details, problem, trace),
      element("div", { class: "states" }, element("h4", {}, "Hidden states over time"), element("p", { class: "quiet" }, "A column a point, a row a unit: blue below zero, orange above."), states)));
}

export function isDirectionClassifier(metadata) {
  const labels = property(metadata, "labels", []);
  const turns = labels.filter((label) => /clockwise/i.test(label));
  const walk = walkInput(metadata);
  const names = new Set(metadata.outputs.map(({ name }) => name));
  return turns.length === 2 && labels.length === 2 && walk !== undefined && ["logits", "output", "h_n"].every((name) => names.has(name));
}

// The only required input: (batch, sequence, 2).
function walkInput(metadata) {
  const required = metadata.inputs.filter((tensor) => !tensor.parameters?.optional);
  const [walk] = required;
  const fits = required.length === 1 && walk.datatype === "FP32" && walk.shape.length === 3 && walk.shape[2] === 2
    && axesOf(walk)[0] === "batch";
  return fits ? walk : undefined;
}

// Requests the logits and hidden states after each point of a growing walk.
//
// A model with declared states gets only the new point, on a stream that keeps its state. A bidirectional model gets
// the whole walk each time, because a new last point changes its states for the earlier points.

class WalkAsker {
  constructor(metadata) {
    this.carries = property(metadata, "continuable", false);
    this.name = metadata.name;
    this.input = walkInput(metadata);
    this.stream = new Stream(metadata.name);
    this.isBehind = false; // whether the stream's state doesn't belong to the last step
    this.steps = []; // for each point: {point, logits, states: layers of units}
    // For a bidirectional model: {forward, backward: points of units, last, final: {forward, backward}}.
    this.whole = null;
    this.milliseconds = 0;
  }

  // Requests the results for these points. Leading points that haven't changed keep their results.
  async follow(points) {
    let same = 0;
    while (same < this.steps.length && same < points.length && this.steps[same].point === points[same]) same += 1;
    if (same < this.steps.length) this.isBehind = true;
    this.steps.length = same;
    if (!points.length) this.whole = null;
    if (this.carries) {
      for (const point of points.slice(same)) await this.step(point);
    } else if (points.length) {
      await this.read(points);
    }
  }

  async step(point) {
    await this.stream.open();
    const before = this.steps.at(-1), isBehind = this.isBehind || this.stream.isFresh;
    const inputs = [this.tensor([point]), ...(isBehind && before ? [before.state] : [])];
    const parameters = isBehind && !before ? { sequence_start: true } : {};
    const { logits, h_n } = await this.timed(() => this.stream.send(inputs, ["logits", "h_n"], parameters));
    this.isBehind = false;
    const state = { name: "h_0", datatype: h_n.datatype, shape: h_n.shape, text: JSON.stringify(h_n.data) };
    this.steps.push({ point, logits: logits.data, states: nest(h_n.data, h_n.shape).map((layer) => layer[0]), state });
  }

  async read(points) {
    const from = this.steps.length < points.length ? this.steps.length : points.length - 1;
    for (let count = from + 1; count <= points.length; count += 1) {
      const walk = this.tensor(points.slice(0, count));
      const { logits, output, h_n } = await this.timed(() => infer(this.name, [walk], ["logits", "output", "h_n"]));
      const [rows] = nest(output.data, output.shape), half = output.shape[2] / 2;
      const final = nest(h_n.data, h_n.shape).map((direction) => direction[0]);
      this.whole = {
        forward: rows.map((row) => row.slice(0, half)),
        backward: rows.map((row) => row.slice(half)),
        last: { forward: rows.at(-1).slice(0, half), backward: rows.at(-1).slice(half) },
        final: { forward: final.at(-2), backward: final.at(-1) },
      };
      this.steps[count - 1] = { point: points[count - 1], logits: logits.data };
    }
  }

  tensor(points) {
    return { name: this.input.name, datatype: "FP32", shape: [1, points.length, 2], text: JSON.stringify([points]) };
  }

  async timed(call) {
    const began = performance.now();
    const answered = await call();
    this.milliseconds = performance.now() - began;
    return answered;
  }
}

// For a model with declared states: one picture per layer, with the unit that changed most when the prediction changed.
function carriedStates(steps, labels) {
  const layers = steps[0].states.map((_, layer) => steps.map((step) => step.states[layer]));
  const turn = lastTurn(steps);
  let text = "The answer has not turned yet.", unit = -1;
  if (turn > 0) {
    const [before, after] = [steps[turn - 1], steps[turn]].map((step) => step.states.at(-1));
    const moves = after.map((value, at) => value - before[at]);
    unit = largestAt(moves.map(Math.abs));
    text = `With point ${turn + 1} the answer turned to ${labels[largestAt(steps[turn].logits)]}. Unit ${unit} moved furthest then: ${short(before[unit])} to ${short(after[unit])}.`;
  }
  return [
    element("p", {}, text),
    element("div", { class: "pictures" }, ...layers.map((states, layer) => element("div", {},
      layers.length > 1 ? element("h4", {}, `Layer ${layer + 1}`) : null,
      scrolled(statesPicture({
        states, unit: layer === layers.length - 1 ? unit : -1, marks: turn > 0 ? [{ column: turn }] : [],
        said: `Hidden states of layer ${layer + 1} after each of ${states.length} points, ${states[0].length} units`,
      })),
    ))),
  ];
}

// For a bidirectional model.
function bothDirections({ forward, backward, last, final }) {
  const apart = (a, b) => Math.max(...a.map((value, at) => Math.abs(value - b[at])));
  const ahead = apart(last.forward, final.forward), back = apart(last.backward, final.backward);
  const end = forward.length - 1;
  const said = forward.length === 1
    ? "With one point both are the same. Draw a second one."
    : `Forward they are ${ahead === 0 ? "the same, bit for bit" : `${short(ahead)} apart`}. Backward they differ by up to ${short(back)}: output[:, -1] has what the backward pass knew after the last point alone, h_n what it knew after the whole walk, which is output[:, 0].`;
  return [
    element("div", { class: "pictures" },
      element("div", {}, element("h4", {}, "Forward: reads from the first point"),
        scrolled(statesPicture({ states: forward, said: `Forward states at each of ${forward.length} points`, marks: [{ column: end }] }))),
      element("div", {}, element("h4", {}, "Backward: reads from the last point"),
        scrolled(statesPicture({ states: backward, said: `Backward states at each of ${backward.length} points`, marks: [{ column: end, className: "other" }, { column: 0 }] })))),
    element("p", { class: "quiet" }, "Framed: h_n. Framed with dashes: output[:, -1], which is h_n itself on the forward side."),
    element("h4", {}, "Where output[:, -1] and h_n differ"),
    element("p", { "data-parting": String(back) }, said),
    scrolled(stripPicture({ said, strips: [
      ["output[:, -1] →", last.forward], ["h_n →", final.forward], ["output[:, -1] ←", last.backward], ["h_n ←", final.backward],
    ] })),
  ];
}

function scrolled(picture) {
  return element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Picture, may be wider than the screen" }, picture);
}

// The last point that changed the prediction, or -1.
function lastTurn(steps) {
  const best = steps.map((step) => largestAt(step.logits));
  return best.findLastIndex((label, at) => at > 0 && label !== best[at - 1]);
}

// The square in which the user draws a walk, by mouse, touch or keyboard.

const SIZE = 400, REACH = 1.6; // x and y range from -REACH to REACH
const CORNERS = [[-1, -1], [-1, 1], [1, 1], [1, -1]];
const APART = 0.3, NEAR = 0.75, STEP = 0.25;
const MOST = 64;

// In a long walk, only every fifth point shows its number.
const isNumbered = (index, count) => count <= 12 || index === 0 || (index + 1) % 5 === 0;

const place = (value) => SIZE / 2 + value * SIZE / 2 / REACH;
const at = ([x, y]) => [place(x), place(-y)];
const rounded = (value) => Math.round(value * 100) / 100;

// onChange receives the points, [[x, y], …]. A point is the same object for as long as it exists.
class Square {
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

  // Adds a point: the corner near this position, or the position if it is far enough from the last point.
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

  // Turns snapping to corners on or off.
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
