/** Adds up the samples of one metric in Prometheus' text format that carry all of the given labels. */
export function sumSamples(text: string, name: string, labels: Readonly<Record<string, string>>): number {
  let sum = 0;
  for (const line of text.split('\n')) {
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (sample?.[1] !== name) continue;
    const given = `,${sample[2] ?? ''}`;
    const matches = Object.entries(labels).every(([label, value]) => given.includes(`,${label}="${value}"`));
    if (matches) sum += Number(sample[3]);
  }
  return sum;
}
