// Quantiles from counts by bucket, as Prometheus finds them: in a bucket all values are as likely.

// buckets: [[lower bound, upper bound or 0, count], …]; null where there is no request.
export function quantile(share, buckets) {
  const sorted = buckets.filter((bucket) => bucket[2] > 0).sort((a, b) => a[0] - b[0]);
  let left = share * sorted.reduce((sum, bucket) => sum + bucket[2], 0);
  for (const [lower, upper, count] of sorted) {
    if (left <= count) return upper ? lower + (upper - lower) * left / count : lower;
    left -= count;
  }
  return null;
}

// What has been added to each bucket.
export function added(before, after) {
  const counts = new Map(before.map(([lower, , count]) => [lower, count]));
  return after.map(([lower, upper, count]) => [lower, upper, count - (counts.get(lower) ?? 0)]);
}

// The buckets of several, together.
export function together(lists) {
  const sum = new Map();
  for (const [lower, upper, count] of lists.flat()) sum.set(lower, [lower, upper, (sum.get(lower)?.[2] ?? 0) + count]);
  return [...sum.values()];
}
