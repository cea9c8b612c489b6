// What models do now: the server's statistics, asked once a second while the tab is seen.

import { askJson } from "./api.js";

const PAUSE_MILLISECONDS = 1000;

let timer = 0;

export function watch(onSample, onError) {
  clearTimeout(timer);
  const ask = async () => {
    if (!document.hidden) {
      try {
        const said = await askJson("/v2/models/stats");
        onSample({ seconds: performance.now() / 1000, models: said.model_stats.map(counts) });
      } catch (error) {
        onError(error.message);
        if (error.isOfToken) return; // a new token begins again
      }
    }
    timer = setTimeout(ask, PAUSE_MILLISECONDS);
  };
  ask();
}

// What has been counted since the version was loaded; times in nanoseconds, summed over requests; durations as buckets
// [lower bound, upper bound or 0, count], in seconds.
function counts({ name, version, inference_count, execution_count, inference_stats, batch_stats, duration_buckets }) {
  return {
    name,
    version,
    success: inference_stats.success.count,
    success_ns: inference_stats.success.ns,
    fail: inference_stats.fail.count,
    queue_ns: inference_stats.queue.ns,
    run_ns: inference_stats.compute_infer.ns,
    rows: inference_count,
    runs: execution_count,
    durations: duration_buckets.map((bucket) => [bucket.lower_bound, bucket.upper_bound, bucket.count]),
    batches: batch_stats.map((batch) => [batch.batch_size, batch.compute_infer.count]),
  };
}
