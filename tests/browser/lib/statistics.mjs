// Numbers about numbers.

/** The value that `share` (0 to 1) of the values are not above. */
export function percentile(values, share) {
  if (values.length === 0) throw new Error("there is no percentile of nothing");
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}
