// The walk: draw it, and see the answer form with each point.

import { lineChart } from "./chart.js";
import { element, panel } from "./dom.js";
import { largestAt, softmax } from "./numbers.js";
import { Square } from "./square.js";
import { property } from "./tensors.js";
import { WalkAsker } from "./walk_asker.js";
import { bothDirections, carriedStates } from "./walk_states.js";

const CLOCKWISE = [[-1, -1], [-1, 1], [1, 1], [1, -1]];

export function walkPanel(metadata) {
  const labels = property(metadata, "labels", []);
  const asker = new WalkAsker(metadata);
  const answer = element("p", { class: "answerline", role: "status" }, "Draw a walk.");
  const details = element("p", { class: "quiet" }, " "), problem = element("p", { role: "alert" });
  const trace = element("div"), states = element("div");
  let wanted = null, isAsking = false;

  // Points may come faster than answers: the newest walk is asked for next.
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
    details.textContent = `${steps.length} ${steps.length === 1 ? "point" : "points"}; the last answer took ${asker.milliseconds.toFixed(1)} ms, there and back; ${asker.carries ? "only the new point was sent, with the states so far" : "the whole walk was sent"}.`;
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
