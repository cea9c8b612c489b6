// Node's own fetch.

import { readFileSync } from "node:fs";
import { deflateSync, gzipSync } from "node:zlib";

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { classifier, text } = plan;
const model = classifier.model;
const infer = `/v2/models/${model}/infer`;
const tolerance = 1e-5;

class Refused extends Error {
  constructor(status, words) {
    super(`${status}: ${words}`);
    this.status = String(status);
    this.words = words;
  }
}

function check(holds, words = "not as expected") {
  if (!holds) throw new Error(words);
}

function same(found, expected) {
  check(found.length === expected.length, `${found.length} values, expected ${expected.length}`);
  found.forEach((value, index) => check(Math.abs(value - expected[index]) <= tolerance, `${value}, expected ${expected[index]}`));
}

async function send(method, path, body, headers = {}, server = "plain") {
  const answer = await fetch(`http://${plan.http[server]}${path}`, { method, body, headers });
  if (answer.status !== 200) {
    check(answer.headers.get("content-type") === "application/json", answer.headers.get("content-type"));
    throw new Refused(answer.status, (await answer.json()).error);
  }
  return answer;
}

const get = async (path, server) => (await send("GET", path, undefined, {}, server)).json();
const post = async (path, body, headers, server) => (await send("POST", path, JSON.stringify(body), headers, server)).json();

async function refused(call, status, ...words) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    check(error.status === status && words.every((word) => error.words.includes(word)), error.message);
    return;
  }
  throw new Error(`expected ${status}`);
}

const walkInput = (points, more = {}) => ({ name: "input", datatype: "FP32", shape: [1, points.length, 2], data: [points], ...more });
const asked = (points, more = {}) => ({ inputs: [walkInput(points)], ...more });
const output = (said, name = "logits") => said.outputs.find((each) => each.name === name);
const right = (said, index = 0) => same(output(said).data, classifier.logits[index]);

const features = {
  live: async () => check((await get("/v2/health/live")).live === true),
  ready: async () => {
    check((await get("/v2/health/ready")).ready === true);
    check((await get(`/v2/models/${model}/versions/1/ready`)).ready === true);
    await refused(() => get("/v2/models/unknown/ready"), "404", "unknown");
  },
  "server-metadata": async () => check((await get("/v2")).name === "rnnserve"),
  models: async () => check((await get("/v2/models")).models.includes(model)),
  "model-metadata": async () => {
    const [first] = (await get(`/v2/models/${model}`)).inputs;
    check(first.name === "input" && first.datatype === "FP32" && String(first.shape) === "-1,-1,2");
  },
  "model-config": async () => check((await get(`/v2/models/${model}/config`)).max_batch_size === 0),
  "infer-json": async () => right(await post(infer, asked(classifier.walks[0]))),
  "infer-binary": async () => {
    const points = Float32Array.from(classifier.walks[0].flat());
    const described = walkInput(classifier.walks[0], { data: undefined, parameters: { binary_data_size: points.byteLength } });
    const head = JSON.stringify({ inputs: [described], outputs: [{ name: "logits", parameters: { binary_data: true } }] });
    const body = new Blob([head, points]);
    const answer = await send("POST", infer, body, { "Inference-Header-Content-Length": String(head.length) });
    const data = Buffer.from(await answer.arrayBuffer());
    const length = Number(answer.headers.get("inference-header-content-length"));
    const values = data.subarray(length);
    check(values.length === output(JSON.parse(data.subarray(0, length))).parameters.binary_data_size);
    same([0, 4].map((at) => values.readFloatLE(at)), classifier.logits[0]);
  },
  "infer-integers": async () => {
    for (const [index, row] of text.rows.entries()) {
      const tokens = { name: "tokens", datatype: "INT64", shape: [1, row.length], data: row };
      same(output(await post(`/v2/models/${text.model}/infer`, { inputs: [tokens] })).data, text.logits[index]);
    }
  },
  "infer-async": async () => {
    const known = classifier.walks.length;
    const answers = Array.from({ length: 200 }, (_, index) =>
      post(infer, asked(classifier.walks[index % known], { id: String(index) })),
    );
    for (const [index, said] of (await Promise.all(answers)).entries()) {
      check(said.id === String(index));
      right(said, index % known);
    }
  },
  outputs: async () => {
    for (const names of [["logits"], ["h_n", "logits"]]) {
      const said = await post(infer, asked(classifier.walks[0], { outputs: names.map((name) => ({ name })) }));
      check(String(said.outputs.map((each) => each.name)) === String(names));
    }
  },
  id: async () => check((await post(infer, asked(classifier.walks[0], { id: "mine" }))).id === "mine"),
  batch: async () => {
    const { walks, logits } = classifier;
    const longest = Math.max(...walks.map((points) => points.length));
    const padded = walks.map((points) => [...points, ...Array(longest - points.length).fill([0, 0])]);
    const input = { name: "input", datatype: "FP32", shape: [walks.length, longest, 2], data: padded };
    const lengths = { name: "lengths", datatype: "INT64", shape: [walks.length], data: walks.map((points) => points.length) };
    same(output(await post(infer, { inputs: [input, lengths] })).data, logits.flat());
  },
  classification: async () => {
    const outputs = [{ name: "logits", parameters: { classification: 1 } }];
    const [value, index, label] = output(await post(infer, asked(classifier.walks[0], { outputs }))).data[0].split(":");
    const best = classifier.logits[0].indexOf(Math.max(...classifier.logits[0]));
    check(Number(index) === best && label === classifier.labels[best]);
    same([Number(value)], [classifier.logits[0][best]]);
  },
  timeout: async () => {
    right(await post(infer, asked(classifier.walks[0], { parameters: { timeout: 10_000_000 } })));
    const short = asked(classifier.walks[0], { parameters: { timeout: 1 } });
    await refused(() => post(infer, short), "503", "Request timeout expired");
  },
  priority: async () => right(await post(infer, asked(classifier.walks[0], { parameters: { priority: 1 } }))),
  parameters: async () =>
    right(await post(infer, asked(classifier.walks[0], { parameters: { text: "a", number: 3, flag: true, real: 0.5 } }))),
  headers: async () => {
    const answer = await send("GET", "/v2", undefined, { "X-Request-Id": "mine" });
    check(answer.headers.get("x-request-id") === "mine");
  },
  error: async () => {
    const wrong = { inputs: [{ name: "input", datatype: "FP32", shape: [1, 1, 3], data: [0, 0, 0] }] };
    await refused(() => post(infer, wrong), "400", '"input"', "features");
    await refused(() => post("/v2/models/unknown/infer", wrong), "404", "unknown");
    await refused(() => send("POST", infer, "{"), "400", "not JSON");
    await refused(() => get(infer), "405");
  },
  "compressed-requests": async () => {
    const body = JSON.stringify(asked(classifier.walks[5]));
    for (const [coding, compress] of [["gzip", gzipSync], ["deflate", deflateSync]]) {
      right(await (await send("POST", infer, compress(body), { "Content-Encoding": coding })).json(), 5);
    }
  },
  "sequence-key": async () => {
    const points = classifier.walks[2];
    const sequence_key = crypto.randomUUID();
    let said;
    for (const [at, point] of points.entries()) {
      const ends = { sequence_start: at === 0, sequence_end: at === points.length - 1 };
      const parameters = { sequence_id: 70062, sequence_key, ...ends };
      said = await post(infer, asked([point], { parameters }), { Connection: "close" });
    }
    right(said, 2);
  },
  carried: async () => {
    let states = [];
    let said;
    for (const point of classifier.walks[2]) {
      said = await post(infer, { inputs: [walkInput([point]), ...states] }, { Connection: "close" });
      states = [{ ...output(said, "h_n"), name: "h_0" }];
    }
    right(said, 2);
  },
  statistics: async () => {
    await post(infer, asked(classifier.walks[0]));
    const [found] = (await get(`/v2/models/${model}/stats`)).model_stats;
    check(found.inference_count > 0);
  },
  index: async () => {
    const found = await post("/v2/repository/index", {});
    check(found.find((each) => each.name === model).state === "READY");
  },
  load: async () => {
    const load = `/v2/repository/models/${text.model}`;
    check((await post(`${load}/load`, {}, {}, "explicit")).load === true);
    check((await get(`/v2/models/${text.model}/ready`, "explicit")).ready === true);
    check((await post(`${load}/unload`, {}, {}, "explicit")).unload === true);
    await refused(() => get(`/v2/models/${text.model}/ready`, "explicit"), "503");
  },
  "load-closed": () => post(`/v2/repository/models/${model}/load`, {}),
  "load-config": () => post(`/v2/repository/models/${text.model}/load`, { parameters: { config: "{}" } }, {}, "explicit"),
  metrics: async () => check((await (await send("GET", "/metrics")).text()).includes("rnnserve_requests_total")),
};

for (const [feature, run] of Object.entries(features)) {
  let said = { feature, outcome: "works" };
  try {
    await run();
  } catch (error) {
    if (error instanceof Refused) said = { feature, outcome: "refused", status: error.status, words: error.words };
    else {
      console.error(error);
      said = { feature, outcome: "failed", words: String(error) };
    }
  }
  console.log(JSON.stringify(said));
}
process.exit(0);
