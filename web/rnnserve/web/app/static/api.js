// Calls the server. Only this variable holds the token: it is never in the address or in storage.

let token = "";
let onRefused = () => {};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function isToken(text) {
  return /^[!-~]+$/.test(text);
}

export function useToken(text) {
  token = text;
}

// Registers a callback for requests that are refused because of their token. It gets the error and whether the request
// had a token.
export function whenRefused(report) {
  onRefused = report;
}

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const hadToken = token !== "";
  if (hadToken) headers.Authorization = `Bearer ${token}`;
  const reply = await fetch(path, { ...options, headers });
  if (!reply.ok) {
    const text = await reply.text();
    let said = text;
    try { said = JSON.parse(text).error ?? text; } catch { /* not JSON: show the text */ }
    const error = new Refused(reply.status, said || `HTTP ${reply.status}`);
    error.isOfToken = reply.status === 401 || (reply.status === 403 && hadToken);
    if (error.isOfToken) onRefused(error, hadToken);
    throw error;
  }
  return reply;
}

export async function askJson(path) {
  return (await ask(path)).json();
}

// Inputs are {name, datatype, shape, text}. `text` is JSON and is sent unchanged, so that numbers keep all digits.
export async function infer(model, inputs, outputs = []) {
  const reply = await ask(`/v2/models/${encodeURIComponent(model)}/infer`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: request(inputs, outputs, {}),
  });
  return byName(read(await reply.text()));
}

// A WebSocket to a model. Each frame is a request and gets one response, in order. The state continues between frames.
export class Stream {
  constructor(model) {
    this.model = model;
    this.waiting = [];
    this.opening = null;
    this.isFresh = true; // whether the connection has no state yet
  }

  async send(inputs, outputs = [], parameters = {}) {
    const socket = await this.open();
    const answered = new Promise((resolve, reject) => { this.waiting.push({ resolve, reject }); });
    socket.send(request(inputs, outputs, parameters));
    this.isFresh = false;
    return answered;
  }

  open() {
    this.opening ??= new Promise((resolve, reject) => {
      const protocols = token ? ["rnnserve", `rnnserve.token.${token}`] : [];
      const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/v2/models/${encodeURIComponent(this.model)}/stream`, protocols);
      this.isFresh = true;
      socket.onopen = () => resolve(socket);
      socket.onmessage = ({ data }) => {
        const answer = read(data), { resolve: done, reject: failed } = this.waiting.shift();
        if (answer.error) failed(new Refused(answer.status, answer.error));
        else done(byName(answer));
      };
      socket.onclose = ({ code, reason }) => {
        this.opening = null;
        this.isFresh = true;
        const error = new Refused(code, reason || `the connection has closed (code ${code}): try again`);
        reject(error);
        for (const each of this.waiting.splice(0)) each.reject(error);
      };
    });
    return this.opening;
  }
}

function request(inputs, outputs, parameters) {
  const said = inputs.map(({ name, datatype, shape, text }) =>
    `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":${JSON.stringify(shape)},"data":${text}}`);
  const wanted = outputs.length ? `,"outputs":${JSON.stringify(outputs.map((name) => ({ name })))}` : "";
  return `{"inputs":[${said.join(",")}]${wanted},"parameters":${JSON.stringify(parameters)}}`;
}

function byName(answer) {
  return Object.fromEntries(answer.outputs.map((output) => [output.name, output]));
}

// The server writes NaN and infinities in Python's form, which JSON.parse refuses.
function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return JSON.parse(text.replaceAll(/-?\b(NaN|Infinity)\b/g, "null"));
  }
}
