// One model: what it is, how it was proven, what it does now, how to ask it.

import { element, facts, panel } from "./dom.js";
import { requestForm } from "./form.js";
import { livePanel } from "./live_panel.js";
import { proofPanel } from "./proof.js";
import { sessionPanel } from "./session.js";
import { snippetPanel } from "./snippets.js";
import { isDirectionClassifier } from "./direction.js";
import { walkPanel } from "./walk.js";
import { property, statesOf } from "./tensors.js";

// Fills the place; gives what takes samples: {live, silent}.
export function showModel(place, { metadata, example }) {
  const numbers = livePanel(metadata.name);
  const panels = [];
  if (isDirectionClassifier(metadata)) {
    panels.push(walkPanel(metadata));
  } else {
    panels.push(requestForm(metadata, example));
    if (example && keepsStates(metadata)) panels.push(sessionPanel(metadata, example));
  }
  panels.push(servingPanel(metadata), numbers.panel, proofPanel(metadata), tensorsPanel(metadata), snippetPanel(metadata, example));
  place.replaceChildren(
    element("h2", {}, metadata.name),
    element("p", { class: "quiet" }, `version ${metadata.versions.join(", ")} · ${metadata.platform}`),
    element("div", { class: "panels" }, ...panels),
  );
  return numbers;
}

// Declared states, which any client carries, or found ones, which the server keeps.
function keepsStates(metadata) {
  if (property(metadata, "continuable", false)) return statesOf(metadata).size > 0;
  return metadata.properties.sequences === "kept" && property(metadata, "found_states", []).length > 0;
}

function servingPanel(metadata) {
  const said = metadata.properties;
  const nodes = Object.entries(property(metadata, "nodes", {}))
    .map(([provider, counts]) => `${provider}: ${Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ")}`);
  const batching = {
    padded: "requests of different lengths share a run: rows are padded",
    joined: "requests of one length share a run",
    alone: "each request has a run of its own",
  }[said.batching] ?? "not told";
  const bits = property(metadata, "batch_invariant", null);
  const labels = property(metadata, "labels", []);
  const found = property(metadata, "found_states", []);
  const signed = property(metadata, "signed", null);
  const kept = found.length ? `kept by the server, found in the graph: ${found.join(", ")}` : "carried by the client, or kept by the server";
  return panel("How it is served", "", facts([
    ["provider", `${said.provider ?? "not told"}${said.provider_requested && said.provider_requested !== said.provider ? ` (asked for: ${said.provider_requested})` : ""}`],
    ["graph", `${said.graph ?? "not told"}${said.graph_reason ? `, ${said.graph_reason}` : ""}`],
    ["nodes", nodes.join("; ") || "not told"],
    ["batching", `${said.batching ?? ""}: ${batching}`],
    ["bits", bits === null ? "not told" : bits ? "an answer has the same bits alone and in any batch" : "an answer's last bits may depend on what shares its run"],
    ["states", said.sequences === "kept" ? kept : said.sequences || "none"],
    ["threads", said.threads ?? "not told"],
    ["signed", signed ? `by the key ${signed.key_id}, as version ${signed.version}, sequence ${signed.sequence}, at ${signed.created}` : "not verified by this server"],
    ["labels", labels.join(", ") || "none"],
  ]));
}

function tensorsPanel(metadata) {
  const of = (tensors) => tensors.map((tensor) => [tensor.name,
    `${tensor.datatype} (${tensor.parameters?.axes ?? ""}) [${tensor.shape.join(", ")}]${tensor.parameters?.optional ? ", optional" : ""}`]);
  return panel("What it takes and gives", "", element("h4", {}, "Inputs"), facts(of(metadata.inputs)),
    element("h4", {}, "Outputs"), facts(of(metadata.outputs)));
}
