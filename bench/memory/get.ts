/** The engine alone as the downloader: `get.ts GIVEN FILE PORT,…`. Prints a JSON line when it has all; see ../memory.ts. */
import { readFile } from 'node:fs/promises';
import { createSwarm } from '#swarm';
import { createLogger } from '#telemetry';
import { filePartial } from '../pair/files.ts';
import { fromGiven } from './content.ts';
import { ignoring } from './ignoring.ts';

const [given = '', file = '', ports = ''] = process.argv.slice(2);
const { metainfo } = fromGiven(await readFile(given, 'utf8'));
const swarm = await createSwarm({
  listen: undefined,
  transports: ['tcp'],
  lookup: () => Promise.resolve(undefined),
  observer: ignoring,
  log: createLogger({ program: 'bench', level: 'error' }),
});
const started = performance.now();
const download = swarm.download({ metainfo, store: await filePartial(file, metainfo) });
download.addPeers(ports.split(',').map((port) => ({ host: '127.0.0.1', port: Number(port) })));
let peers = 0;
const watch = setInterval(() => {
  peers = Math.max(peers, download.stats().connectedPeers);
}, 100);
await download.completed;
clearInterval(watch);
process.stdout.write(`${JSON.stringify({ seconds: (performance.now() - started) / 1000, peers })}\n`);
await swarm.close();
