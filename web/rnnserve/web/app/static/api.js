// Asks the server. A token is kept in this variable alone: not in the address, not in storage.

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

// Has a function told of each request that is refused for its token: with the error, and whether there was one.
export function whenRefused(tell) {
  onRefused = tell;
}

export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const hadToken = token !== "";
  if (hadToken) headers.Authorization = `Bearer ${token}`;
  const reply = await fetch(path, { ...options, headers });
  if (!reply.ok) {
    const text = await reply.text();
    let said = text;
    try { said = JSON.parse(text).error ?? text; } catch { /* it is no JSON: it is shown as it is */ }
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

// Inputs are {name, datatype, shape, text}: text is JSON, sent as it stands, so that no digit of a number is lost.
export async function infer(model, inputs, outputs = [], parameters = {}) {
  const said = inputs.map(({ name, datatype, shape, text }) =>
    `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":${JSON.stringify(shape)},"data":${text}}`);
  const wanted = outputs.length ? `,"outputs":${JSON.stringify(outputs.map((name) => ({ name })))}` : "";
  const reply = await ask(`/v2/models/${encodeURIComponent(model)}/infer`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: `{"inputs":[${said.join(",")}]${wanted},"parameters":${JSON.stringify(parameters)}}`,
  });
  const answer = read(await reply.text());
  return Object.fromEntries(answer.outputs.map((output) => [output.name, output]));
}

// The server writes NaN and infinities as Python does; JSON.parse knows none of them.
function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return JSON.parse(text.replaceAll(/-?\b(NaN|Infinity)\b/g, "null"));
  }
}
