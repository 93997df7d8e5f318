import { statfs } from 'node:fs/promises';
import type { Metrics } from './metrics.ts';

/** Tells what is free where the program keeps its data, as of the scrape. */
export function exposeDisk(metrics: Metrics, folder: string): void {
  metrics.gauge({
    name: 'shoal_disk_free_bytes',
    help: 'What is free on the disk with the data folder',
    async read(gauge) {
      const { bavail, bsize } = await statfs(folder);
      gauge.set(bavail * bsize);
    },
  });
}
