/** Two origins that share nothing; one is killed (kill -9) in the middle of a rollout to twelve agents. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { IMAGE_TYPE, until } from '../support/in-process.ts';
import { pushBlob } from '../support/registry-client.ts';
import { type Program, startProgram } from '../support/shoal.ts';

const MIB = 1024 * 1024;
const LAYERS = [6 * MIB, 6 * MIB, 2 * MIB];
const AGENTS = 12;
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';

interface Progress {
  bytes: number;
  /** Of the monotonic clock: when a byte came last. */
  at: number;
  /** The longest wait between two bytes that began or ended after the kill. */
  longestMs: number;
}

t.test('no pull fails, and what the agents hold is known to the one that stays', async (t) => {
  const origins = await Promise.all([
    startProgram(t, 'origin', ['--upload-rate', '6MiB/s']),
    startProgram(t, 'origin', ['--upload-rate', '6MiB/s']),
  ]);
  const [doomed, stays] = origins;
  const images = await Promise.all(origins.map(({ url }) => push(url)));
  t.equal(images[0], images[1], 'the same image, so the same swarms');
  const flags = origins.flatMap(({ url }) => ['--origin', url]);
  const agents = await Promise.all(Array.from({ length: AGENTS }, () => startProgram(t, 'agent', flags)));

  let killedAt = Number.POSITIVE_INFINITY;
  const all: Progress[] = [];
  const pulls = agents.map(async (agent) => {
    const progress: Progress = { bytes: 0, at: performance.now(), longestMs: 0 };
    all.push(progress);
    const from = performance.now();
    const got = await pullImage(agent, (bytes) => {
      const now = performance.now();
      if (now > killedAt) progress.longestMs = Math.max(progress.longestMs, now - progress.at);
      progress.at = now;
      progress.bytes += bytes;
    });
    return { got, seconds: (performance.now() - from) / 1000 };
  });
  const whole = LAYERS.reduce((sum, size) => sum + size, 0) * AGENTS;
  await until(() => all.reduce((sum, { bytes }) => sum + bytes, 0) > whole / 4);
  await doomed?.signal('SIGKILL');
  killedAt = performance.now();

  const done = await Promise.all(pulls);
  t.ok(
    done.every(({ got }) => got === images[0]),
    'every layer of every agent has its digest',
  );
  const longest = Math.max(...all.map(({ longestMs }) => longestMs));
  const last = Math.max(...done.map(({ seconds }) => seconds));
  t.comment(
    `after the kill no pull waited longer than ${Math.round(longest)} ms for a byte; the last took ${last.toFixed(1)} s`,
  );
  const url = stays?.url ?? '';
  await until(async () => {
    const answer = (await (await fetch(`${url}/api/v1/agents`)).json()) as { agents: { blobs: number }[] };
    return answer.agents.length === AGENTS && answer.agents.every(({ blobs }) => blobs >= LAYERS.length);
  });

  // By tag, by digest, and of what no agent has: each is answered by the one that is left.
  const only = await pushBlob(url, 'team/app', 44_009, 700 * 1024);
  const from = performance.now();
  const answers = await Promise.all(
    agents.map(async (agent) => {
      const answer = await fetch(`${agent.url}/v2/team/app/blobs/${only}`);
      const bytes = await answer.arrayBuffer();
      if (answer.status === 200) return bytes.byteLength;
      return `${Buffer.from(bytes)}; ${agent
        .log()
        .match(/.*no usable answer.*/g)
        ?.slice(-6)
        .join('\n')}`;
    }),
  );
  t.same(new Set(answers), new Set([700 * 1024]));
  t.comment(
    `a blob that only the other origin has: ${Math.round(performance.now() - from)} ms for twelve agents`,
  );
});

/** Pushes the image; answers with the digests of its layers. */
async function push(url: string): Promise<string> {
  const layers = await Promise.all(
    LAYERS.map(async (size, index) => ({
      mediaType: LAYER,
      size,
      digest: await pushBlob(url, 'team/app', 44_001 + index, size),
    })),
  );
  const config = { mediaType: CONFIG, size: 400, digest: await pushBlob(url, 'team/app', 44_000, 400) };
  const manifest = { schemaVersion: 2, mediaType: IMAGE_TYPE, config, layers };
  const answer = await fetch(`${url}/v2/team/app/manifests/v1`, {
    method: 'PUT',
    headers: { 'content-type': IMAGE_TYPE },
    body: JSON.stringify(manifest),
  });
  if (answer.status !== 201) throw new Error(`the manifest was answered with ${answer.status}`);
  return layers.map(({ digest }) => digest).join(' ');
}

/** Pulls as containerd does: the manifest, then its layers at once. Answers with the digests of what came. */
async function pullImage(agent: Program, onBytes: (bytes: number) => void): Promise<string> {
  const base = `${agent.url}/v2/team/app`;
  const answer = await fetch(`${base}/manifests/v1`, { headers: { accept: IMAGE_TYPE } });
  if (answer.status !== 200) throw new Error(`the manifest was answered with ${answer.status}`);
  const { layers } = (await answer.json()) as { layers: { digest: string }[] };
  const got = await Promise.all(
    layers.map(async ({ digest }) => {
      const blob = await fetch(`${base}/blobs/${digest}`);
      if (blob.status !== 200 || blob.body === null)
        throw new Error(`a layer was answered with ${blob.status}`);
      const hash = createHash('sha256');
      for await (const chunk of blob.body) {
        hash.update(chunk);
        onBytes(chunk.length);
      }
      return `sha256:${hash.digest('hex')}`;
    }),
  );
  return got.join(' ');
}
