// grpc-js with proto-loader, as one uses the .proto files from Node; and grpc-js-reflection-client.
"use strict";

const fs = require("fs");
const path = require("path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const reflection = require("grpc-js-reflection-client");

const plan = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const { classifier, text } = plan;
const model = classifier.model;
const insecure = grpc.credentials.createInsecure();

const definition = loader.loadSync(
  ["inference.proto", "health.proto"].map((name) => path.join("rnnserve", "protos", name)),
  { includeDirs: [plan.protos], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true },
);
const { inference, grpc: standard } = grpc.loadPackageDefinition(definition);

const inferenceClient = (server = "plain", credentials = insecure, options = {}) =>
  new inference.GRPCInferenceService(plan.servers[server], credentials, options);
const healthClient = () => new standard.health.v1.Health(plan.servers.plain, insecure);

// A unary call as a promise.
function ask(client, method, request = {}, metadata = new grpc.Metadata(), options = {}) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

function check(condition, words) {
  if (!condition) throw new Error(words);
}

function same(found, expected) {
  check(found.length === expected.length, `${found.length} values, expected ${expected.length}`);
  found.forEach((value, at) => check(Math.abs(value - expected[at]) < 1e-5, `${found}, expected ${expected}`));
}

// Little-endian, as all machines are that Node runs on.
const bytesOf = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);

function walk(index = 0, more = {}) {
  const points = classifier.walks[index];
  return {
    model_name: model,
    inputs: [{ name: "input", datatype: "FP32", shape: [1, points.length, 2] }],
    outputs: [{ name: "logits" }],
    raw_input_contents: [bytesOf(Float32Array.from(points.flat()))],
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
    model_name: model,
    inputs: [
      { name: "input", datatype: "FP32", shape: [rows, longest, 2] },
      { name: "lengths", datatype: "INT64", shape: [rows] },
    ],
    outputs: [{ name: "logits" }],
    raw_input_contents: [bytesOf(points), bytesOf(BigInt64Array.from(lengths.map(BigInt)))],
  };
  return { request, logits: chosen.flatMap((index) => classifier.logits[index]) };
}

async function compressed(algorithm) {
  const number = grpc.compressionAlgorithms[algorithm];
  const client = inferenceClient("plain", insecure, { "grpc.default_compression_algorithm": number });
  const { request, logits } = batchOf(64);
  same(floats(await ask(client, "ModelInfer", request)), logits);
}

function floats(answer, at = 0) {
  const raw = Buffer.from(answer.raw_output_contents[at]); // a copy is aligned
  return Array.from(new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length)));
}

async function refused(call, status, ...words) {
  try {
    await call;
  } catch (error) {
    check(error.code === grpc.status[status], `${error}, expected ${status}`);
    words.forEach((word) => check(error.details.includes(word), `${error}: no ${word}`));
    return error;
  }
  throw new Error(`expected ${status}`);
}

// All answers of a stream to these requests.
function stream(requests, metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    const answers = [];
    const call = inferenceClient().ModelStreamInfer(metadata);
    call.on("data", (answer) => answers.push(answer));
    call.on("error", reject);
    call.on("end", () => resolve(answers));
    requests.forEach((request) => call.write(request));
    call.end();
  });
}

function steps(points, id) {
  return points.map((values, step) => ({
    ...walk(),
    inputs: [{ name: "input", datatype: "FP32", shape: [1, 1, 2] }],
    raw_input_contents: [bytesOf(Float32Array.from(values))],
    parameters: {
      sequence_id: { int64_param: id },
      sequence_start: { bool_param: step === 0 },
      sequence_end: { bool_param: step === points.length - 1 },
    },
  }));
}

const longWalks = () => ({
  model_name: model,
  inputs: [{ name: "input", datatype: "FP32", shape: [500, 4096, 2] }],
  raw_input_contents: [Buffer.alloc(500 * 4096 * 2 * 4)],
});

const features = {
  live: async () => check((await ask(inferenceClient(), "ServerLive")).live, "not live"),
  ready: async () => {
    check((await ask(inferenceClient(), "ServerReady")).ready, "not ready");
    check((await ask(inferenceClient(), "ModelReady", { name: model })).ready, "model not ready");
    check(!(await ask(inferenceClient(), "ModelReady", { name: "unknown" })).ready, "unknown model ready");
  },
  "server-metadata": async () =>
    check((await ask(inferenceClient(), "ServerMetadata")).name === "rnnserve", "another name"),
  "model-metadata": async () => {
    const { inputs } = await ask(inferenceClient(), "ModelMetadata", { name: model });
    check(`${inputs[0].name} ${inputs[0].datatype} ${inputs[0].shape}` === "input FP32 -1,-1,2", JSON.stringify(inputs));
  },
  "model-config": async () => {
    const { config } = await ask(inferenceClient(), "ModelConfig", { name: model });
    check(config.name === model && config.output[0].data_type === "TYPE_FP32", JSON.stringify(config));
  },
  "infer-raw": async () => same(floats(await ask(inferenceClient(), "ModelInfer", walk())), classifier.logits[0]),
  "infer-typed": async () => {
    const typed = walk();
    delete typed.raw_input_contents;
    typed.inputs[0].contents = { fp32_contents: classifier.walks[0].flat() };
    same(floats(await ask(inferenceClient(), "ModelInfer", typed)), classifier.logits[0]);
  },
  "infer-integers": async () => {
    for (const [at, row] of text.rows.entries()) {
      const request = {
        model_name: text.model,
        inputs: [{ name: "tokens", datatype: "INT64", shape: [1, row.length] }],
        raw_input_contents: [bytesOf(BigInt64Array.from(row.map(BigInt)))],
      };
      same(floats(await ask(inferenceClient(), "ModelInfer", request)), text.logits[at]);
    }
  },
  "infer-async": async () => {
    const client = inferenceClient();
    const count = classifier.walks.length;
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => ask(client, "ModelInfer", walk(index % count))),
    );
    answers.forEach((answer, index) => same(floats(answer), classifier.logits[index % count]));
  },
  outputs: async () => {
    const wanted = walk(0, { outputs: [{ name: "h_n" }, { name: "logits" }] });
    const answer = await ask(inferenceClient(), "ModelInfer", wanted);
    check(answer.outputs.map((output) => output.name).join() === "h_n,logits", JSON.stringify(answer.outputs));
    same(floats(answer, 1), classifier.logits[0]);
  },
  id: async () => check((await ask(inferenceClient(), "ModelInfer", walk(0, { id: "mine" }))).id === "mine", "other id"),
  batch: async () => {
    for (const rows of [1, 2, 7, 64]) {
      const { request, logits } = batchOf(rows);
      same(floats(await ask(inferenceClient(), "ModelInfer", request)), logits);
    }
  },
  lengths: async () => {
    const { request, logits } = batchOf(4);
    same(floats(await ask(inferenceClient(), "ModelInfer", request)), logits);
  },
  classification: async () => {
    const parameters = { classification: { int64_param: 1 } };
    const answer = await ask(inferenceClient(), "ModelInfer", walk(0, { outputs: [{ name: "logits", parameters }] }));
    const best = classifier.logits[0].indexOf(Math.max(...classifier.logits[0]));
    const [, index, label] = answer.raw_output_contents[0].subarray(4).toString().split(":");
    check(Number(index) === best && label === classifier.labels[best], `${index}:${label}`);
  },
  timeout: async () => {
    const waits = (microseconds) => walk(0, { parameters: { timeout: { int64_param: microseconds } } });
    same(floats(await ask(inferenceClient(), "ModelInfer", waits(10_000_000))), classifier.logits[0]);
    await refused(ask(inferenceClient(), "ModelInfer", waits(1)), "UNAVAILABLE", "Request timeout expired");
  },
  priority: async () => {
    const request = walk(0, { parameters: { priority: { uint64_param: 1 } } });
    same(floats(await ask(inferenceClient(), "ModelInfer", request)), classifier.logits[0]);
  },
  parameters: async () => {
    const parameters = { text: { string_param: "a" }, number: { double_param: 0.5 }, flag: { bool_param: true } };
    same(floats(await ask(inferenceClient(), "ModelInfer", walk(0, { parameters }))), classifier.logits[0]);
  },
  headers: async () => {
    const metadata = new grpc.Metadata();
    metadata.set("my-header", "a");
    metadata.set("my-bytes-bin", Buffer.from([0, 255]));
    same(floats(await ask(inferenceClient(), "ModelInfer", walk(), metadata)), classifier.logits[0]);
  },
  error: async () => {
    const wrong = walk(0, { raw_input_contents: [Buffer.alloc(24)] });
    wrong.inputs[0].shape = [1, 2, 3];
    await refused(ask(inferenceClient(), "ModelInfer", wrong), "INVALID_ARGUMENT", '"input"', "features");
    await refused(ask(inferenceClient(), "ModelInfer", walk(0, { model_name: "unknown" })), "NOT_FOUND", "unknown");
  },
  "error-details": async () => {
    const wrong = walk(0, { raw_input_contents: [Buffer.alloc(24)] });
    wrong.inputs[0].shape = [1, 2, 3];
    const error = await refused(ask(inferenceClient(), "ModelInfer", wrong), "INVALID_ARGUMENT");
    const [details] = error.metadata.get("grpc-status-details-bin");
    check(details.includes("inputs[0].shape"), `${details}`);
  },
  deadline: async () => {
    const call = ask(inferenceClient(), "ModelInfer", longWalks(), new grpc.Metadata(), { deadline: Date.now() + 30 });
    await refused(call, "DEADLINE_EXCEEDED");
    same(floats(await ask(inferenceClient(), "ModelInfer", walk())), classifier.logits[0]);
  },
  cancellation: async () => {
    const client = inferenceClient();
    const error = await new Promise((resolve) => {
      const call = client.ModelInfer(longWalks(), (refusal) => resolve(refusal));
      setTimeout(() => call.cancel(), 30);
    });
    check(error !== null && error.code === grpc.status.CANCELLED, `${error}`);
    same(floats(await ask(client, "ModelInfer", walk())), classifier.logits[0]);
  },
  compression: () => compressed("gzip"),
  deflate: () => compressed("deflate"),
  tls: async () => {
    const client = inferenceClient("tls", grpc.credentials.createSsl(fs.readFileSync(plan.ca)));
    same(floats(await ask(client, "ModelInfer", walk())), classifier.logits[0]);
  },
  keepalive: async () => {
    const options = { "grpc.keepalive_time_ms": 200, "grpc.keepalive_permit_without_calls": 1 };
    const client = inferenceClient("plain", insecure, options);
    check((await ask(client, "ServerLive")).live, "not live");
    await new Promise((resolve) => setTimeout(resolve, 1000));
    same(floats(await ask(client, "ModelInfer", walk())), classifier.logits[0]);
  },
  stream: async () => {
    const count = classifier.walks.length;
    const answers = await stream(Array.from({ length: 50 }, (_, at) => walk(at % count, { id: `${at}` })));
    answers.forEach((answer, at) => {
      check(answer.infer_response.id === `${at}`, `${answer.infer_response.id} at ${at}`);
      same(floats(answer.infer_response), classifier.logits[at % count]);
    });
    check(answers.length === 50, `${answers.length} answers`);
  },
  "stream-final": async () => {
    const [answer] = await stream([walk()]);
    check(answer.infer_response.parameters.triton_final_response.bool_param, JSON.stringify(answer));
  },
  "stream-error": async () => {
    const [refusal, answer] = await stream([walk(0, { model_name: "unknown" }), walk()]);
    check(refusal.error_message.includes("unknown"), JSON.stringify(refusal));
    same(floats(answer.infer_response), classifier.logits[0]);
  },
  "stream-end": async () => {
    const metadata = new grpc.Metadata();
    metadata.set("triton_grpc_error", "true");
    await refused(stream([walk(0, { model_name: "unknown" })], metadata), "NOT_FOUND", "unknown");
  },
  "sequence-stream": async () => {
    const answers = await stream(steps(classifier.walks[0], 70031));
    same(floats(answers.at(-1).infer_response), classifier.logits[0]);
  },
  "sequence-unary": async () => {
    const client = inferenceClient();
    let answer;
    for (const step of steps(classifier.walks[3], 70032)) answer = await ask(client, "ModelInfer", step);
    same(floats(answer), classifier.logits[3]);
  },
  statistics: async () => {
    const { model_stats: stats } = await ask(inferenceClient(), "ModelStatistics", { name: model });
    check(stats[0].inference_count > 0 && stats[0].inference_stats.success.ns > 0, JSON.stringify(stats));
  },
  index: async () => {
    const { models } = await ask(inferenceClient(), "RepositoryIndex");
    check(models.find((entry) => entry.name === model).state === "READY", JSON.stringify(models));
  },
  load: async () => {
    const client = inferenceClient("explicit");
    await ask(client, "RepositoryModelLoad", { model_name: text.model });
    check((await ask(client, "ModelReady", { name: text.model })).ready, "not ready");
    await ask(client, "RepositoryModelUnload", { model_name: text.model });
    check(!(await ask(client, "ModelReady", { name: text.model })).ready, "still ready");
  },
  "load-closed": () => ask(inferenceClient(), "RepositoryModelLoad", { model_name: model }),
  "load-config": () =>
    ask(inferenceClient("explicit"), "RepositoryModelLoad", {
      model_name: text.model,
      parameters: { config: { string_param: "{}" } },
    }),
  "memory-status": async () => {
    for (const kind of ["System", "Cuda"]) {
      const { regions } = await ask(inferenceClient(), `${kind}SharedMemoryStatus`);
      check(Object.keys(regions).length === 0, JSON.stringify(regions));
      await ask(inferenceClient(), `${kind}SharedMemoryUnregister`);
    }
  },
  "memory-register": () =>
    ask(inferenceClient(), "SystemSharedMemoryRegister", { name: "region", key: "/region", byte_size: 64 }),
  "trace-settings": async () => {
    const { settings } = await ask(inferenceClient(), "TraceSetting");
    check(settings.trace_level.value.join() === "OFF", JSON.stringify(settings));
  },
  "trace-change": () =>
    ask(inferenceClient(), "TraceSetting", { settings: { trace_level: { value: ["TIMESTAMPS"] } } }),
  "log-settings": async () =>
    check((await ask(inferenceClient(), "LogSettings")).settings.log_error.bool_param, "errors are not logged"),
  "log-change": () => ask(inferenceClient(), "LogSettings", { settings: { log_verbose_level: { uint32_param: 3 } } }),
  "health-check": async () => {
    for (const service of ["", "inference.GRPCInferenceService", model]) {
      const { status } = await ask(healthClient(), "Check", { service });
      check(status === "SERVING", `${service}: ${status}`);
    }
    await refused(ask(healthClient(), "Check", { service: "unknown" }), "NOT_FOUND");
  },
  "health-watch": async () => {
    const first = (service) =>
      new Promise((resolve, reject) => {
        const call = healthClient().Watch({ service });
        call.on("error", (error) => (error.code === grpc.status.CANCELLED ? null : reject(error)));
        call.on("data", ({ status }) => {
          resolve(status);
          call.cancel();
        });
      });
    check((await first(model)) === "SERVING", "not serving");
    check((await first("unknown")) === "SERVICE_UNKNOWN", "known");
  },
  "health-list": async () => {
    const { statuses } = await ask(healthClient(), "List");
    check(statuses[model].status === "SERVING", JSON.stringify(statuses));
  },
  reflection: async () => {
    const client = new reflection.GrpcReflection(plan.servers.plain, insecure);
    const services = await client.listServices();
    check(services.includes("inference.GRPCInferenceService"), `${services}`);
    const described = await client.getDescriptorBySymbol("inference.GRPCInferenceService");
    const loaded = described.getPackageObject({ keepCase: true });
    const asked = new loaded.inference.GRPCInferenceService(plan.servers.plain, insecure);
    check((await ask(asked, "ServerLive")).live, "not live");
  },
};

async function main() {
  for (const [feature, attempt] of Object.entries(features)) {
    const outcome = { feature, outcome: "works" };
    try {
      await attempt();
    } catch (error) {
      const isStatus = typeof error.code === "number" && typeof error.details === "string";
      Object.assign(
        outcome,
        isStatus
          ? { outcome: "refused", status: grpc.status[error.code], words: error.details }
          : { outcome: "failed", words: `${error}` },
      );
    }
    console.log(JSON.stringify(outcome));
  }
  process.exit(0); // clients keep their connections
}

main();
