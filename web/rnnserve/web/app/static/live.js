// What models do now: server-sent events, read by fetch since an EventSource sends no token.

import { ask } from "./api.js";

const AGAIN_MILLISECONDS = 2000;

let running = null;

// A tab that nobody sees gives its place to another.
export function watch(onSample, onError) {
  running?.abort();
  const begin = () => {
    running?.abort();
    running = null;
    if (!document.hidden) {
      running = new AbortController();
      follow(onSample, onError, running.signal);
    }
  };
  document.onvisibilitychange = begin;
  begin();
}

async function follow(onSample, onError, signal) {
  while (!signal.aborted) {
    try {
      const reply = await ask("/page/live", { signal });
      for await (const said of events(reply.body)) {
        if (said.error) onError(said.error);
        else onSample(said);
      }
    } catch (error) {
      if (signal.aborted) return;
      onError(error.message);
      if (error.isOfToken) return; // another one is asked for, with which it begins again
    }
    await new Promise((go) => setTimeout(go, AGAIN_MILLISECONDS));
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice("data: ".length));
  }
}
