// The answers to a walk as it grows: logits and hidden states after each point.
//
// A model that carries states is asked for each new point alone, with the states after the point before. One that reads
// from both ends is asked for the whole walk each time: what it made of the first points changes with the last.

import { infer } from "./api.js";
import { walkInput } from "./direction.js";
import { nest, property } from "./tensors.js";

export class WalkAsker {
  constructor(metadata) {
    this.carries = property(metadata, "continuable", false);
    this.name = metadata.name;
    this.input = walkInput(metadata);
    this.steps = []; // of each point: {point, logits, states: layers of units}
    this.whole = null; // {forward, backward: points of units, last, final: {forward, backward}}, where it reads from both ends
    this.milliseconds = 0;
  }

  // Bring the answers up to these points; those that begin as before are not asked again.
  async follow(points) {
    let same = 0;
    while (same < this.steps.length && same < points.length && this.steps[same].point === points[same]) same += 1;
    this.steps.length = same;
    if (!points.length) this.whole = null;
    if (this.carries) {
      for (const point of points.slice(same)) await this.step(point);
    } else if (points.length) {
      await this.read(points);
    }
  }

  async step(point) {
    const inputs = [this.tensor([point])], before = this.steps.at(-1);
    if (before) inputs.push(before.carried);
    const { logits, h_n } = await this.timed(inputs, ["logits", "h_n"]);
    const carried = { name: "h_0", datatype: h_n.datatype, shape: h_n.shape, text: JSON.stringify(h_n.data) };
    this.steps.push({ point, logits: logits.data, states: nest(h_n.data, h_n.shape).map((layer) => layer[0]), carried });
  }

  async read(points) {
    const from = this.steps.length < points.length ? this.steps.length : points.length - 1;
    for (let count = from + 1; count <= points.length; count += 1) {
      const { logits, output, h_n } = await this.timed([this.tensor(points.slice(0, count))], ["logits", "output", "h_n"]);
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

  async timed(inputs, outputs) {
    const began = performance.now();
    const answered = await infer(this.name, inputs, outputs);
    this.milliseconds = performance.now() - began;
    return answered;
  }
}
