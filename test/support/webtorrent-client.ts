/**
 * A WebTorrent client for tests, plain TCP on the loopback: `seed TORRENT FOLDER` prints `listening PORT`;
 * `download TORRENT FOLDER HOST:PORT` prints `complete` when every piece is here. Ends when standard input closes.
 */
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

const [mode, file = '', folder = '', peer = ''] = process.argv.slice(2);
const client = new WebTorrent({
  dht: false,
  lsd: false,
  utp: false,
  tracker: false,
  natUpnp: false,
  natPmp: false,
  secure: false,
});
const torrent = client.add(await readFile(file), { path: folder });
torrent.once('ready', () => {
  if (mode === 'seed') console.log(`listening ${client.torrentPort}`);
  else torrent.addPeer(peer);
});
if (mode === 'download') torrent.once('done', () => console.log('complete'));
process.stdin.on('end', () => process.exit(0)).resume();
