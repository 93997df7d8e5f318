/**
 * The agent of one compute node: a registry mirror on the loopback, a cache, a member of the swarm.
 *
 *     const agent = await startAgent(
 *       { origins: ['http://10.0.0.1:5000'], listen: { host: '127.0.0.1', port: 5001 },
 *         data: '/var/lib/shoal/agent', bittorrentListen: { host: '10.0.0.2', port: 6882 }, admission: 'open' },
 *       { log, metrics },
 *     );
 *     // containerd, CRI-O and podman pull through http://127.0.0.1:5001
 *     await agent.close();
 *
 * Life of a request: mirror/ → resolver (manifests) or downloads (blobs) → swarm, with ranges from
 * the origin when the swarm is slow → verified pieces in the store → back as a stream.
 */
export type { CacheReport } from './cache-routes.ts';
export type { PullReport } from './pull-account.ts';
export type { LazyReport, ManifestReport, ServeReport } from './serves.ts';
export { type Agent, type AgentConfig, startAgent } from './start.ts';
