/**
 * One side of a pair on our engine: `shoal.ts seed FILE DESCRIPTION` or
 * `shoal.ts get FILE DESCRIPTION ADDRESS`, where the address is a port, or `port,peerId` for libp2p.
 * Speaks JSON lines on standard output; see ../pair.ts.
 */
import { createIdentity, createSwarm } from '#swarm';
import { createLogger } from '#telemetry';
import { filePartial, fileSeed, loadMetainfo } from './files.ts';

const [role, path = '', description = '', address = ''] = process.argv.slice(2);
const [port, peerId] = address.split(',');
const metainfo = await loadMetainfo(description);
const nothing = (): void => undefined;
const swarm = await createSwarm({
  listen: role === 'seed' ? { host: '127.0.0.1', port: 0 } : undefined,
  identity: await createIdentity(),
  peerListen: { host: '127.0.0.1', port: 0 },
  lookup: async (infoHash) =>
    infoHash === metainfo.infoHash ? { metainfo, store: await fileSeed(path) } : undefined,
  observer: {
    payload: nothing,
    pieceRejected: nothing,
    connected: nothing,
    disconnected: nothing,
    seedUnreadable: nothing,
  },
  log: createLogger({ program: 'bench', level: 'error' }),
});
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const cpuSeconds = (since: NodeJS.CpuUsage): number => {
  const used = process.cpuUsage(since);
  return (used.user + used.system) / 1e6;
};

if (role === 'seed') {
  const before = process.cpuUsage();
  say({ port: swarm.address?.port, libp2p: `${swarm.libp2p?.port},${swarm.libp2p?.peerId}` });
  process.once('SIGTERM', () => {
    say({ cpu: cpuSeconds(before), rss: process.resourceUsage().maxRSS });
    process.exit(0);
  });
} else {
  const store = await filePartial(path, metainfo);
  const before = process.cpuUsage();
  const started = performance.now();
  const download = swarm.download({ metainfo, store });
  const member = { host: '127.0.0.1', port: Number(port) };
  download.addPeers([peerId === undefined ? member : { ...member, libp2p: { port: member.port, peerId } }]);
  await download.completed;
  const seconds = (performance.now() - started) / 1000;
  say({ seconds, cpu: cpuSeconds(before), rss: process.resourceUsage().maxRSS });
  await swarm.close();
}
