/**
 * Upstreams: registries whose images the origin fetches when they are asked for, keeps like pushed
 * ones, and seeds. Their repositories are called by host and name, `docker.io/library/app`.
 *
 *     const upstreams = await createUpstreams(configs, parts);
 *     if (upstreams.owns(name)) await upstreams.manifest(name, reference); // in the metadata now
 *     const incoming = await upstreams.start(name, digest); // on its way, or here by now
 */
export type { UpstreamConfig } from './config.ts';
export { checkExposure } from './exposure.ts';
export { followIncoming } from './follow.ts';
export type { IncomingBlob } from './incoming.ts';
export { componentToHost, hostToComponent } from './names.ts';
export { createUpstreams, type Upstreams } from './upstreams.ts';
