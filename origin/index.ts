/**
 * The origin: the registry that images are pushed to. It keeps blobs on disk and everything else in
 * one database, makes the metainfo of each blob, seeds what it holds, and embeds the tracker.
 *
 *     const origin = await startOrigin(
 *       { listen: { host: '127.0.0.1', port: 5000 }, data: '/var/lib/shoal/origin', bittorrentListen: 'off' },
 *       { log, metrics },
 *     );
 *     await origin.close();
 */
export { type Origin, type OriginConfig, startOrigin } from './start.ts';
