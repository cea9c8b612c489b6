// What the hidden states of a walk say: which unit turns the answer, and where output[:, -1] and h_n part.

import { element } from "./dom.js";
import { largestAt, short } from "./numbers.js";
import { statesPicture, stripPicture } from "./states_picture.js";

// For a model that carries states: a picture a layer, and the unit that moved most where the answer turned.
export function carriedStates(steps, labels) {
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

// For a model that reads from both ends.
export function bothDirections({ forward, backward, last, final }) {
  const apart = (a, b) => Math.max(...a.map((value, at) => Math.abs(value - b[at])));
  const ahead = apart(last.forward, final.forward), back = apart(last.backward, final.backward);
  const end = forward.length - 1;
  const said = forward.length === 1
    ? "With one point both are the same. Draw a second one."
    : `Forward they are ${ahead === 0 ? "the same, bit for bit" : `${short(ahead)} apart`}. Backward they part by up to ${short(back)}: output[:, -1] has what the backward pass knew after the last point alone, h_n what it knew after the whole walk, which is output[:, 0].`;
  return [
    element("div", { class: "pictures" },
      element("div", {}, element("h4", {}, "Forward: reads from the first point"),
        scrolled(statesPicture({ states: forward, said: `Forward states at each of ${forward.length} points`, marks: [{ column: end }] }))),
      element("div", {}, element("h4", {}, "Backward: reads from the last point"),
        scrolled(statesPicture({ states: backward, said: `Backward states at each of ${backward.length} points`, marks: [{ column: end, className: "other" }, { column: 0 }] })))),
    element("p", { class: "quiet" }, "Framed: h_n. Framed with dashes: output[:, -1], which is h_n itself on the forward side."),
    element("h4", {}, "Where output[:, -1] and h_n part"),
    element("p", { "data-parting": String(back) }, said),
    scrolled(stripPicture({ said, strips: [
      ["output[:, -1] →", last.forward], ["h_n →", final.forward], ["output[:, -1] ←", last.backward], ["h_n ←", final.backward],
    ] })),
  ];
}

function scrolled(picture) {
  return element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Picture, may be wider than the screen" }, picture);
}

// The last point with which the answer became another one; -1 if there is none.
function lastTurn(steps) {
  const best = steps.map((step) => largestAt(step.logits));
  return best.findLastIndex((label, at) => at > 0 && label !== best[at - 1]);
}
