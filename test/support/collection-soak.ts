/**
 * Clients that push, push again, mount, delete and pull while an origin collects garbage all the
 * time. They share a few layers, so that the same digests come and go in several repositories. Every
 * answer that is not what the distribution specification and the leases promise is a failure.
 */
import { createHash, randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Digest, sha256DigestOf } from '#oci';
import { call, MANIFEST } from './origin.ts';

export interface SoakFigures {
  readonly requests: number;
  readonly images: number;
  /** How blobs came to be where they were needed. */
  readonly blobs: { readonly there: number; readonly mounted: number; readonly pushed: number };
  readonly deletions: number;
  readonly pulls: number;
  /** Pushes that took longer than a lease, for which nothing is promised. */
  readonly late: number;
  readonly failures: readonly string[];
}

const REPOSITORIES = ['soak/a', 'soak/b', 'soak/c'];
const LAYERS = 12;
/** How many of the layers are in use at a time; the others fall out of use, and are collected. */
const IN_USE = 4;
const layers = Array.from({ length: LAYERS }, (_, at) => {
  const seed = createHash('sha256').update(`layer ${at}`).digest();
  const bytes = Buffer.alloc(at % 3 === 0 ? 600_000 : 20_000, seed);
  return { bytes, digest: sha256DigestOf(bytes) };
});

type Layer = (typeof layers)[number];

export async function collectionSoak(options: {
  readonly url: string;
  readonly seconds: number;
  readonly clients: number;
  readonly leaseMs: number;
}): Promise<SoakFigures> {
  const { url, leaseMs } = options;
  const until = performance.now() + options.seconds * 1000;
  const blobs = { there: 0, mounted: 0, pushed: 0 };
  const failures: string[] = [];
  let [requests, images, deletions, pulls, late] = [0, 0, 0, 0, 0];

  const ask = (...[method, where, given]: Parameters<typeof call>) => {
    requests += 1;
    return call(method, where.startsWith('/') ? `${url}${where}` : where, given);
  };
  const check = (ok: boolean, what: string): boolean => {
    if (!ok) failures.push(what);
    return ok;
  };

  await Promise.all(Array.from({ length: options.clients }, (_, client) => live(client)));
  return { requests, images, blobs, deletions, pulls, late, failures };

  async function live(client: number): Promise<void> {
    for (let turn = 0; performance.now() < until; turn += 1) {
      const own = randomInt(4) === 0;
      const name = own ? `soak/own${client}` : pick(REPOSITORIES);
      const startedAt = performance.now();
      const used = [chooseLayer(), chooseLayer(), configOf(client, turn)];
      for (const layer of used) await bring(name, layer);
      const manifest = manifestOf(used, `${client}.${turn}`);
      const digest = sha256DigestOf(manifest);
      const reference = randomInt(2) === 0 ? `t${client}` : digest;
      const put = await ask('PUT', `/v2/${name}/manifests/${reference}`, {
        headers: { 'content-type': MANIFEST },
        body: manifest,
      });
      if (performance.now() - startedAt > leaseMs) late += 1;
      else check(put.status === 201, `PUT of a manifest answered ${put.status}: ${put.body}`);
      if (put.status !== 201) continue;
      images += 1;
      await pull(name, digest, used);
      await delay(randomInt(leaseMs));
      await pull(name, digest, used);
      await take(name, digest, used, own);
    }
  }

  /** Asks whether it is there, else mounts it or pushes it in one of the three ways. */
  async function bring(name: string, layer: Layer): Promise<void> {
    const { digest, bytes } = layer;
    const head = await ask('HEAD', `/v2/${name}/blobs/${digest}`);
    if (head.status === 200) {
      blobs.there += 1;
      return;
    }
    check(head.status === 404, `HEAD of a blob answered ${head.status}`);
    const way = randomInt(4);
    if (way === 0) {
      const push = await ask('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes });
      check(push.status === 201, `POST of a blob answered ${push.status}: ${push.body}`);
      blobs.pushed += 1;
      return;
    }
    const mount = way === 1 ? '' : `?mount=${digest}&from=${pick(REPOSITORIES)}`;
    const begun = await ask('POST', `/v2/${name}/blobs/uploads/${mount}`);
    if (begun.status === 201) {
      blobs.mounted += 1;
      return;
    }
    if (!check(begun.status === 202, `POST of an upload answered ${begun.status}`)) return;
    let location = begun.headers['location'] ?? '';
    const half = way === 2 ? Math.floor(bytes.length / 2) : 0;
    if (half > 0) {
      const chunk = await ask('PATCH', location, { body: bytes.subarray(0, half) });
      check(chunk.status === 202, `PATCH answered ${chunk.status}: ${chunk.body}`);
      location = chunk.headers['location'] ?? '';
    }
    const put = await ask('PUT', `${location}?digest=${digest}`, { body: bytes.subarray(half) });
    check(put.status === 201, `PUT of a blob answered ${put.status}: ${put.body}`);
    blobs.pushed += 1;
  }

  async function pull(name: string, digest: Digest, used: readonly Layer[]): Promise<void> {
    pulls += 1;
    const manifest = await ask('GET', `/v2/${name}/manifests/${digest}`);
    check(manifest.status === 200, `GET of a manifest answered ${manifest.status}`);
    for (const layer of used) {
      const blob = await ask('GET', `/v2/${name}/blobs/${layer.digest}`);
      check(blob.status === 200, `GET of a blob answered ${blob.status}: ${blob.body.subarray(0, 200)}`);
      check(blob.status !== 200 || blob.body.equals(layer.bytes), 'GET of a blob answered wrong bytes');
    }
    const [first] = used;
    const torrent = await ask('GET', `/v2/${name}/_shoal/torrents/${first?.digest}`);
    check(torrent.status === 200, `GET of a torrent answered ${torrent.status}`);
  }

  /** The manifest, and in a repository that nobody else uses also a blob by name. */
  async function take(name: string, digest: Digest, used: readonly Layer[], own: boolean): Promise<void> {
    const gone = await ask('DELETE', `/v2/${name}/manifests/${digest}`);
    check(gone.status === 202, `DELETE of a manifest answered ${gone.status}`);
    deletions += 1;
    const [first] = used;
    if (!own || first === undefined) return;
    const blob = await ask('DELETE', `/v2/${name}/blobs/${first.digest}`);
    check(blob.status === 202, `DELETE of a blob answered ${blob.status}`);
    const again = await ask('GET', `/v2/${name}/blobs/${first.digest}`);
    check(again.status === 404, `GET of a deleted blob answered ${again.status}`);
    deletions += 1;
  }

  /** Which layers are in use moves on with time, and comes around again. */
  function chooseLayer(): Layer {
    const window = Math.floor(performance.now() / (2 * leaseMs));
    return layers[(window * IN_USE + randomInt(IN_USE)) % LAYERS] as Layer;
  }
}

function configOf(client: number, turn: number): Layer {
  const bytes = Buffer.from(JSON.stringify({ client, turn: turn % 5 }));
  return { bytes, digest: sha256DigestOf(bytes) };
}

function manifestOf(used: readonly Layer[], title: string): Buffer {
  const [config, ...rest] = used.map(({ bytes, digest }) => ({
    ...{ mediaType: 'application/octet-stream', digest, size: bytes.length },
  }));
  const annotations = { 'org.opencontainers.image.title': title };
  return Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: rest, annotations }),
  );
}

function pick<T>(list: readonly T[]): T {
  return list[randomInt(list.length)] as T;
}
