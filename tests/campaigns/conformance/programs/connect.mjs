// Connect for Node with its gRPC transport, and protobuf-es messages made from descriptors.
import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { compressionGzip, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

const plan = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const { classifier, text } = plan;
const model = classifier.model;
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, fs.readFileSync(plan.descriptors)));

const client = (server = "plain", options = {}, service = "inference.GRPCInferenceService") => {
  const scheme = server === "tls" ? "https" : "http";
  const transport = createGrpcTransport({ baseUrl: `${scheme}://${plan.servers[server]}`, ...options });
  return createClient(registry.getService(service), transport);
};
const health = () => client("plain", {}, "grpc.health.v1.Health");

function check(condition, words) {
  if (!condition) throw new Error(words);
}

function same(found, expected) {
  check(found.length === expected.length, `${found.length} values, expected ${expected.length}`);
  found.forEach((value, at) => check(Math.abs(value - expected[at]) < 1e-5, `${found}, expected ${expected}`));
}

const textOf = (value) => JSON.stringify(value, (_, found) => (typeof found === "bigint" ? `${found}` : found));
const bytesOf = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const number = (value) => ({ parameterChoice: { case: "int64Param", value: BigInt(value) } });
const flag = (value) => ({ parameterChoice: { case: "boolParam", value } });
const words = (value) => ({ parameterChoice: { case: "stringParam", value } });

function walk(index = 0, more = {}) {
  const points = classifier.walks[index];
  return {
    modelName: model,
    inputs: [{ name: "input", datatype: "FP32", shape: [1n, BigInt(points.length), 2n] }],
    outputs: [{ name: "logits" }],
    rawInputContents: [bytesOf(Float32Array.from(points.flat()))],
    ...more,
  };
}

// Walks padded to the longest, with their lengths.
function batchOf(rows) {
  const chosen = Array.from({ length: rows }, (_, row) => row % classifier.walks.length);
  const lengths = chosen.map((index) => classifier.walks[index].length);
  const longest = Math.max(...lengths);
  const points = new Float32Array(rows * longest * 2);
  chosen.forEach((index, row) => points.set(classifier.walks[index].flat(), row * longest * 2));
  const request = {
    modelName: model,
    inputs: [
      { name: "input", datatype: "FP32", shape: [rows, longest, 2].map(BigInt) },
      { name: "lengths", datatype: "INT64", shape: [BigInt(rows)] },
    ],
    outputs: [{ name: "logits" }],
    rawInputContents: [bytesOf(points), bytesOf(BigInt64Array.from(lengths.map(BigInt)))],
  };
  return { request, logits: chosen.flatMap((index) => classifier.logits[index]) };
}

const wrongShape = () =>
  walk(0, {
    inputs: [{ name: "input", datatype: "FP32", shape: [1n, 2n, 3n] }],
    rawInputContents: [new Uint8Array(24)],
  });

const longWalks = () => ({
  modelName: model,
  inputs: [{ name: "input", datatype: "FP32", shape: [500n, 4096n, 2n] }],
  rawInputContents: [new Uint8Array(500 * 4096 * 2 * 4)],
});

// A copy of the bytes is aligned.
const floats = (answer, at = 0) => Array.from(new Float32Array(answer.rawOutputContents[at].slice().buffer));

async function refused(call, code, ...said) {
  try {
    await call;
  } catch (error) {
    const found = ConnectError.from(error);
    check(found.code === code, `${found}, expected ${Code[code]}`);
    said.forEach((word) => check(found.rawMessage.includes(word), `${found}: no ${word}`));
    return found;
  }
  throw new Error(`expected ${Code[code]}`);
}

async function stream(requests, options = {}) {
  async function* send() {
    yield* requests;
  }
  const answers = [];
  for await (const answer of client().modelStreamInfer(send(), options)) answers.push(answer);
  return answers;
}

function steps(points, id) {
  return points.map((values, step) =>
    walk(0, {
      inputs: [{ name: "input", datatype: "FP32", shape: [1n, 1n, 2n] }],
      rawInputContents: [bytesOf(Float32Array.from(values))],
      parameters: {
        sequence_id: id,
        sequence_start: flag(step === 0),
        sequence_end: flag(step === points.length - 1),
      },
    }),
  );
}

const features = {
  live: async () => check((await client().serverLive({})).live, "not live"),
  ready: async () => {
    check((await client().serverReady({})).ready, "not ready");
    check((await client().modelReady({ name: model })).ready, "model not ready");
    check(!(await client().modelReady({ name: "unknown" })).ready, "unknown model ready");
  },
  "server-metadata": async () => check((await client().serverMetadata({})).name === "rnnserve", "another name"),
  "model-metadata": async () => {
    const { inputs } = await client().modelMetadata({ name: model });
    check(`${inputs[0].name} ${inputs[0].datatype} ${inputs[0].shape}` === "input FP32 -1,-1,2", textOf(inputs));
  },
  "model-config": async () => {
    const { config } = await client().modelConfig({ name: model });
    check(config.name === model && config.output[0].name === "logits", textOf(config));
  },
  "infer-raw": async () => same(floats(await client().modelInfer(walk())), classifier.logits[0]),
  "infer-typed": async () => {
    const points = classifier.walks[0];
    const shape = [1n, BigInt(points.length), 2n];
    const contents = { fp32Contents: points.flat() };
    const inputs = [{ name: "input", datatype: "FP32", shape, contents }];
    same(floats(await client().modelInfer(walk(0, { inputs, rawInputContents: [] }))), classifier.logits[0]);
  },
  "infer-integers": async () => {
    for (const [at, row] of text.rows.entries()) {
      const answer = await client().modelInfer({
        modelName: text.model,
        inputs: [{ name: "tokens", datatype: "INT64", shape: [1n, BigInt(row.length)] }],
        rawInputContents: [bytesOf(BigInt64Array.from(row.map(BigInt)))],
      });
      same(floats(answer), text.logits[at]);
    }
  },
  "infer-async": async () => {
    const asked = client();
    const count = classifier.walks.length;
    const answers = await Promise.all(Array.from({ length: 200 }, (_, index) => asked.modelInfer(walk(index % count))));
    answers.forEach((answer, index) => same(floats(answer), classifier.logits[index % count]));
  },
  outputs: async () => {
    const answer = await client().modelInfer(walk(0, { outputs: [{ name: "h_n" }, { name: "logits" }] }));
    check(answer.outputs.map((output) => output.name).join() === "h_n,logits", textOf(answer.outputs));
    same(floats(answer, 1), classifier.logits[0]);
  },
  id: async () => check((await client().modelInfer(walk(0, { id: "mine" }))).id === "mine", "another id"),
  batch: async () => {
    for (const rows of [1, 2, 7, 64]) {
      const { request, logits } = batchOf(rows);
      same(floats(await client().modelInfer(request)), logits);
    }
  },
  lengths: async () => {
    const { request, logits } = batchOf(4);
    same(floats(await client().modelInfer(request)), logits);
  },
  classification: async () => {
    const outputs = [{ name: "logits", parameters: { classification: number(1) } }];
    const answer = await client().modelInfer(walk(0, { outputs }));
    const best = classifier.logits[0].indexOf(Math.max(...classifier.logits[0]));
    const [, index, label] = Buffer.from(answer.rawOutputContents[0]).subarray(4).toString().split(":");
    check(Number(index) === best && label === classifier.labels[best], `${index}:${label}`);
  },
  timeout: async () => {
    const waits = (microseconds) => walk(0, { parameters: { timeout: number(microseconds) } });
    same(floats(await client().modelInfer(waits(10_000_000))), classifier.logits[0]);
    await refused(client().modelInfer(waits(1)), Code.Unavailable, "Request timeout expired");
  },
  priority: async () => {
    const priority = { parameterChoice: { case: "uint64Param", value: 1n } };
    same(floats(await client().modelInfer(walk(0, { parameters: { priority } }))), classifier.logits[0]);
  },
  parameters: async () => {
    const parameters = { text: words("a"), number: number(3), flag: flag(true) };
    same(floats(await client().modelInfer(walk(0, { parameters }))), classifier.logits[0]);
  },
  headers: async () =>
    same(floats(await client().modelInfer(walk(), { headers: { "my-header": "a" } })), classifier.logits[0]),
  error: async () => {
    await refused(client().modelInfer(wrongShape()), Code.InvalidArgument, '"input"', "features");
    await refused(client().modelInfer(walk(0, { modelName: "unknown" })), Code.NotFound, "unknown");
  },
  "error-details": async () => {
    const error = await refused(client().modelInfer(wrongShape()), Code.InvalidArgument);
    check(error.details.length === 1 && error.details[0].type === "google.rpc.BadRequest", textOf(error.details));
    check(Buffer.from(error.details[0].value).includes("inputs[0].shape"), "the field is not named");
  },
  deadline: async () => {
    await refused(client().modelInfer(longWalks(), { timeoutMs: 30 }), Code.DeadlineExceeded);
    same(floats(await client().modelInfer(walk())), classifier.logits[0]);
  },
  cancellation: async () => {
    // Node refuses new requests on a connection that holds more than 10 MB, with its own ENHANCE_YOUR_CALM.
    const asked = client("plain", { nodeOptions: { maxSessionMemory: 100 } });
    const abort = new AbortController();
    const call = asked.modelInfer(longWalks(), { signal: abort.signal });
    setTimeout(() => abort.abort(), 30);
    await refused(call, Code.Canceled);
    same(floats(await asked.modelInfer(walk())), classifier.logits[0]);
  },
  compression: async () => {
    const { request, logits } = batchOf(64);
    const asked = client("plain", { sendCompression: compressionGzip, compressMinBytes: 0 });
    same(floats(await asked.modelInfer(request)), logits);
  },
  tls: async () => {
    const asked = client("tls", { nodeOptions: { ca: fs.readFileSync(plan.ca) } });
    same(floats(await asked.modelInfer(walk())), classifier.logits[0]);
  },
  keepalive: async () => {
    const pings = { pingIntervalMs: 200, pingIdleConnection: true };
    const sessionManager = new Http2SessionManager(`http://${plan.servers.plain}`, pings);
    const asked = client("plain", { sessionManager });
    check((await asked.serverLive({})).live, "not live");
    await sleep(1000);
    same(floats(await asked.modelInfer(walk())), classifier.logits[0]);
  },
  stream: async () => {
    const count = classifier.walks.length;
    const answers = await stream(Array.from({ length: 50 }, (_, at) => walk(at % count, { id: `${at}` })));
    check(answers.length === 50, `${answers.length} answers`);
    answers.forEach((answer, at) => {
      check(answer.inferResponse.id === `${at}`, `${answer.inferResponse.id} at ${at}`);
      same(floats(answer.inferResponse), classifier.logits[at % count]);
    });
  },
  "stream-final": async () => {
    const [answer] = await stream([walk()]);
    check(answer.inferResponse.parameters.triton_final_response.parameterChoice.value === true, textOf(answer));
  },
  "stream-error": async () => {
    const [refusal, answer] = await stream([walk(0, { modelName: "unknown" }), walk()]);
    check(refusal.errorMessage.includes("unknown"), textOf(refusal));
    same(floats(answer.inferResponse), classifier.logits[0]);
  },
  "stream-end": () =>
    refused(
      stream([walk(0, { modelName: "unknown" })], { headers: { triton_grpc_error: "true" } }),
      Code.NotFound,
      "unknown",
    ),
  "sequence-stream": async () => {
    const answers = await stream(steps(classifier.walks[0], words("connect, on a stream")));
    same(floats(answers.at(-1).inferResponse), classifier.logits[0]);
  },
  "sequence-unary": async () => {
    const asked = client();
    let answer;
    for (const step of steps(classifier.walks[3], number(70051))) answer = await asked.modelInfer(step);
    same(floats(answer), classifier.logits[3]);
  },
  statistics: async () => {
    const { modelStats } = await client().modelStatistics({ name: model });
    check(modelStats[0].inferenceCount > 0n, textOf(modelStats));
  },
  index: async () => {
    const { models } = await client().repositoryIndex({});
    check(models.find((entry) => entry.name === model).state === "READY", textOf(models));
  },
  load: async () => {
    const asked = client("explicit");
    await asked.repositoryModelLoad({ modelName: text.model });
    check((await asked.modelReady({ name: text.model })).ready, "not ready");
    await asked.repositoryModelUnload({ modelName: text.model });
    check(!(await asked.modelReady({ name: text.model })).ready, "still ready");
  },
  "load-closed": () => client().repositoryModelLoad({ modelName: model }),
  "load-config": () =>
    client("explicit").repositoryModelLoad({ modelName: text.model, parameters: { config: words("{}") } }),
  "memory-status": async () => {
    const asked = client();
    for (const answer of [await asked.systemSharedMemoryStatus({}), await asked.cudaSharedMemoryStatus({})]) {
      check(Object.keys(answer.regions).length === 0, textOf(answer));
    }
    await asked.systemSharedMemoryUnregister({});
    await asked.cudaSharedMemoryUnregister({});
  },
  "memory-register": () => client().systemSharedMemoryRegister({ name: "region", key: "/region", byteSize: 64n }),
  "trace-settings": async () => {
    const { settings } = await client().traceSetting({});
    check(settings.trace_level.value.join() === "OFF", textOf(settings));
  },
  "trace-change": () => client().traceSetting({ settings: { trace_level: { value: ["TIMESTAMPS"] } } }),
  "log-settings": async () => {
    const { settings } = await client().logSettings({});
    check(settings.log_error.parameterChoice.value === true, textOf(settings));
  },
  "log-change": () => {
    const level = { parameterChoice: { case: "uint32Param", value: 3 } };
    return client().logSettings({ settings: { log_verbose_level: level } });
  },
  "health-check": async () => {
    for (const service of ["", "inference.GRPCInferenceService", model]) {
      const { status } = await health().check({ service });
      check(status === 1, `${service}: ${status}`);
    }
    await refused(health().check({ service: "unknown" }), Code.NotFound);
  },
  "health-watch": async () => {
    for (const [service, status] of Object.entries({ [model]: 1, unknown: 3 })) {
      for await (const answer of health().watch({ service })) {
        check(answer.status === status, `${service}: ${answer.status}`);
        break;
      }
    }
  },
  "health-list": async () => {
    const { statuses } = await health().list({});
    check(statuses[model].status === 1, textOf(statuses));
  },
};

// CamelCase to the protocol's names: InvalidArgument to INVALID_ARGUMENT.
const statusName = (code) => Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();

for (const [feature, attempt] of Object.entries(features)) {
  const outcome = { feature, outcome: "works" };
  try {
    await attempt();
  } catch (error) {
    Object.assign(
      outcome,
      error instanceof ConnectError
        ? { outcome: "refused", status: statusName(error.code), words: error.rawMessage }
        : { outcome: "failed", words: `${error}` },
    );
  }
  console.log(JSON.stringify(outcome));
}
process.exit(0); // transports keep their connections
