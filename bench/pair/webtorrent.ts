/** One side of a pair on WebTorrent, plain TCP: `seed FOLDER TORRENT` or `get FOLDER TORRENT PORT`. */
import { readFile } from 'node:fs/promises';

/** The part of the module that is used; it comes without types. */
interface Torrent {
  once(event: 'ready' | 'done', listener: () => void): void;
  addPeer(address: string): void;
}
interface Client {
  readonly torrentPort: number;
  add(torrent: Uint8Array, options: object): Torrent;
}
const moduleName = 'webtorrent';
const { default: WebTorrent } = (await import(moduleName)) as {
  readonly default: new (options: object) => Client;
};

const [role, folder = '', torrentPath = '', port] = process.argv.slice(2);
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const cpuSeconds = (since: NodeJS.CpuUsage): number => {
  const used = process.cpuUsage(since);
  return (used.user + used.system) / 1e6;
};
const client = new WebTorrent({
  dht: false,
  lsd: false,
  utp: false,
  tracker: false,
  natUpnp: false,
  natPmp: false,
  secure: false,
});
const torrent = client.add(await readFile(torrentPath), { path: folder, skipVerify: role === 'seed' });
await new Promise<void>((resolve) => torrent.once('ready', () => resolve()));
const before = process.cpuUsage();
if (role === 'seed') {
  say({ port: client.torrentPort });
  process.once('SIGTERM', () => {
    say({ cpu: cpuSeconds(before), rss: process.resourceUsage().maxRSS });
    process.exit(0);
  });
} else {
  const started = performance.now();
  torrent.once('done', () => {
    say({
      seconds: (performance.now() - started) / 1000,
      cpu: cpuSeconds(before),
      rss: process.resourceUsage().maxRSS,
    });
    process.exit(0);
  });
  torrent.addPeer(`127.0.0.1:${port}`);
}
