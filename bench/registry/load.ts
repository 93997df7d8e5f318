/**
 * The load generator, a process of its own: `node load.ts JSON` prints one JSON line `{ seconds, done }`.
 *
 *     { "kind": "manifests", "port": 5000, "method": "GET", "names": [...], "connections": 16, "seconds": 5 }
 *     { "kind": "pushes", "port": 5000, "pushes": 2000, "connections": 8, "seed": "…" }
 *
 * Each connection sends its next request when the answer to the one before is there. `manifests` asks for
 * tags in turn. A push is what a client sends for an image of one small blob: POST, PUT of the blob, PUT of
 * a manifest under a tag, into one of sixteen repositories. Any other status than the right one ends it.
 */
import { createHash } from 'node:crypto';
import { connect } from './connection.ts';

export type Load =
  | {
      readonly kind: 'manifests';
      readonly port: number;
      readonly method: 'HEAD' | 'GET';
      /** Paths of manifests. */
      readonly targets: readonly string[];
      readonly connections: number;
      readonly seconds: number;
    }
  | {
      readonly kind: 'pushes';
      readonly port: number;
      readonly pushes: number;
      readonly connections: number;
      /** Makes the blobs of this run different from those of any other. */
      readonly seed: string;
    };

const REPOSITORIES = 16;
const SMALL_BLOB_BYTES = 4096;
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

const load = JSON.parse(process.argv[2] ?? '') as Load;
const connections = await Promise.all(Array.from({ length: load.connections }, () => connect(load.port)));
const startedAt = performance.now();
let done = 0;

function expect(status: number, wanted: number, what: string): void {
  if (status !== wanted) throw new Error(`${what} was answered with ${status}`);
}

if (load.kind === 'manifests') {
  const { targets, method } = load;
  const until = startedAt + load.seconds * 1000;
  let next = 0;
  await Promise.all(
    connections.map(async (connection) => {
      while (performance.now() < until) {
        const target = targets[next++ % targets.length] ?? '';
        const answer = await connection.request(method, target, { headers: { Accept: OCI_MANIFEST } });
        expect(answer.status, 200, target);
        done += 1;
      }
    }),
  );
} else {
  let next = 0;
  await Promise.all(
    connections.map(async (connection) => {
      for (let at = next++; at < load.pushes; at = next++) {
        const blob = Buffer.alloc(SMALL_BLOB_BYTES, `${load.seed} ${at} `);
        const digest = `sha256:${createHash('sha256').update(blob).digest('hex')}`;
        const repository = `/v2/bench/small${at % REPOSITORIES}`;
        const begun = await connection.request('POST', `${repository}/blobs/uploads/`);
        expect(begun.status, 202, 'POST of an upload');
        const location = new URL(begun.header('location') ?? '', `http://127.0.0.1:${load.port}`);
        location.searchParams.set('digest', digest);
        const blobPut = await connection.request('PUT', `${location.pathname}${location.search}`, {
          body: blob,
          headers: { 'Content-Type': 'application/octet-stream' },
        });
        expect(blobPut.status, 201, 'PUT of a blob');
        const described = {
          mediaType: 'application/vnd.oci.image.config.v1+json',
          digest,
          size: blob.length,
        };
        const manifest = { schemaVersion: 2, mediaType: OCI_MANIFEST, config: described, layers: [] };
        const put = await connection.request('PUT', `${repository}/manifests/${load.seed}-${at}`, {
          body: Buffer.from(JSON.stringify(manifest)),
          headers: { 'Content-Type': OCI_MANIFEST },
        });
        expect(put.status, 201, 'PUT of a manifest');
        done += 1;
      }
    }),
  );
}
const seconds = (performance.now() - startedAt) / 1000;
for (const connection of connections) connection.close();
process.stdout.write(`${JSON.stringify({ seconds, done })}\n`);
