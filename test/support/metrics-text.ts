/** Reading Prometheus' text format. */

/** Adds up the samples of `name` that carry all of `labels` in Prometheus' text format. */
export function sumMetric(text: string, name: string, labels: Readonly<Record<string, string>>): number {
  let sum = 0;
  for (const line of text.split('\n')) {
    const sample = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample?.[1] !== name) continue;
    const given = sample[2] ?? '';
    if (Object.entries(labels).every(([label, value]) => given.includes(`${label}="${value}"`))) {
      sum += sample[3] === '+Inf' ? Number.POSITIVE_INFINITY : Number(sample[3]);
    }
  }
  return sum;
}
