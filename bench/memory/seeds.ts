/** Several seeds in one process: `seeds.ts GIVEN COUNT`. Prints their ports and peer ids as one JSON line; see ../memory.ts. */
import { readFile } from 'node:fs/promises';
import { createSwarm } from '#swarm';
import { createLogger } from '#telemetry';
import { fromGiven } from './content.ts';
import { ignoring } from './ignoring.ts';

const [given = '', count = '1'] = process.argv.slice(2);
const { metainfo, content } = fromGiven(await readFile(given, 'utf8'));
const store = {
  has: () => true,
  read: async (position: number, into: Uint8Array) => content.fill(position, into),
  write: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
const seeds: { readonly port: number; readonly peerId: string }[] = [];
for (let made = 0; made < Number(count); made += 1) {
  const swarm = await createSwarm({
    listen: { host: '127.0.0.1', port: 0 },
    transports: ['tcp'],
    lookup: async (infoHash) => (infoHash === metainfo.infoHash ? { metainfo, store } : undefined),
    observer: ignoring,
    log: createLogger({ program: 'bench', level: 'error' }),
  });
  seeds.push({ port: swarm.address?.port ?? 0, peerId: swarm.peerId });
}
process.stdout.write(`${JSON.stringify(seeds)}\n`);
// Ends with its parent.
process.stdin.resume().once('end', () => process.exit(0));
