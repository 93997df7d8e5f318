/** Members that lie while origin and tracker are gone: found out, counted, avoided, and the pull is right. */
import t, { type Test } from 'tap';
import { providerKey } from '#discovery';
import { formatMultiaddr } from '#multiaddr';
import { type Digest, sha256DigestOf } from '#oci';
import { createIdentity, createSwarm, type Overlay } from '#swarm';
import { encodeMetainfo, type Metainfo } from '#torrent';
import {
  agentHere,
  type Member,
  originHere,
  pull,
  pushBlob,
  pushImage,
  someBytes,
  type TestAgent,
  until,
} from '../support/in-process.ts';
import { metainfoOf } from '../support/metainfo.ts';
import { countingObserver, LOOPBACK, memoryStore, quiet } from './swarm-support.ts';

const MIB = 1024 * 1024;

interface Liar {
  readonly multiaddr: string;
  readonly overlay: Overlay;
  /** What it was asked. */
  readonly questions: string[];
}

/** A member like any other, with answers of its own, that seeds garbage for wrong metainfo. */
async function liarHere(
  t: Test,
  options: {
    readonly bootstrap?: readonly TestAgent[];
    readonly answer: (question: string) => Uint8Array | undefined;
    readonly garbage?: readonly { readonly metainfo: Metainfo; readonly bytes: Buffer }[];
  },
): Promise<Liar> {
  const questions: string[] = [];
  const swarm = await createSwarm({
    listen: undefined,
    identity: await createIdentity(),
    peerListen: LOOPBACK,
    lookup: async (infoHash) => {
      const garbage = options.garbage?.find(({ metainfo }) => metainfo.infoHash === infoHash);
      return garbage && { metainfo: garbage.metainfo, store: memoryStore(garbage.metainfo, garbage.bytes) };
    },
    observer: countingObserver().observer,
    log: quiet,
    overlay: {
      dht: true,
      mdns: undefined,
      async answer(question) {
        questions.push(question);
        return options.answer(question);
      },
    },
  });
  t.teardown(() => swarm.close());
  const { overlay, libp2p } = swarm;
  if (!overlay || !libp2p) throw new Error('no overlay');
  for (const { agent } of options.bootstrap ?? []) {
    const { peerAddress } = agent;
    if (peerAddress) overlay.introduce([{ ...peerAddress, libp2p: peerAddress }]);
  }
  return { multiaddr: formatMultiaddr(libp2p), overlay, questions };
}

/** An agent that has heard from the origin that everybody may pull. */
async function agentWith(
  t: Test,
  origin: Member,
  bootstrap: readonly string[],
  headersAfterMs?: number,
): Promise<TestAgent> {
  const discovery = { dht: true, mdns: undefined, bootstrap };
  const agent = await agentHere(t, [origin.url], { discovery, headersAfterMs });
  await untilStatus(agent, ({ table }) => table >= bootstrap.length);
  return agent;
}

/** Waits until it has heard that everybody may pull, and knows as many members as is asked for. */
async function untilStatus(
  agent: TestAgent,
  enough: (discovery: { readonly table: number; readonly members: number }) => boolean,
): Promise<void> {
  await until(async () => {
    const status = await (await fetch(`${agent.url}/api/v1/status`)).json();
    const { origins, discovery } = status as {
      origins: { open: boolean | null }[];
      discovery: { table: number; members: number };
    };
    return origins[0]?.open === true && enough(discovery);
  });
}

const multiaddrOf = ({ agent }: TestAgent): string =>
  formatMultiaddr(agent.peerAddress ?? { port: 1, peerId: '' });

/** Well-formed metainfo of this digest, and the bytes that it fits. */
function wrongMetainfo(digest: Digest, length: number): { metainfo: Metainfo; bytes: Buffer } {
  const bytes = someBytes(length);
  return { metainfo: metainfoOf(bytes, digest), bytes };
}

t.test('a wrong manifest', async (t) => {
  const origin = await originHere(t);
  const liar = await liarHere(t, {
    answer: (question) => (question.startsWith('manifest') ? Buffer.from('{"schemaVersion":2}') : undefined),
  });
  const agent = await agentWith(t, origin, [liar.multiaddr]);
  const image = await pushImage(origin.url, 'team/app', 'v1', [someBytes(1000)]);
  const holder = await agentWith(t, origin, []);
  await pull(`${holder.url}/v2/team/app/manifests/v1`);
  await origin.close();

  const url = `${agent.url}/v2/team/app/manifests/${image.digest}`;
  t.equal((await pull(url)).status, 503, 'only the liar is known');
  t.equal(await agent.metric('shoal_discovery_lies_total', { what: 'manifest' }), 1);
  const asked = liar.questions.length;
  // The one that has it meets the agent.
  await holder.close();
  await agentHere(t, [origin.url], {
    data: holder.data,
    discovery: { dht: true, mdns: undefined, bootstrap: [multiaddrOf(agent)] },
  });
  await until(async () => (await pull(url)).status === 200);
  t.ok((await pull(url)).bytes.equals(image.manifest));
  t.equal(liar.questions.length, asked, 'the liar is not asked again');
});

t.test('a wrong small blob, and the right one of another member', async (t) => {
  const origin = await originHere(t);
  const small = someBytes(1_000);
  const digest = sha256DigestOf(small);
  const image = await pushImage(origin.url, 'team/app', 'v1', [small]);
  const liar = await liarHere(t, {
    answer(question) {
      if (question === `manifest ${image.digest}`) return image.manifest;
      return question === `blob ${digest}` ? someBytes(1_000) : undefined;
    },
  });
  const holder = await agentWith(t, origin, []);
  await pull(`${holder.url}/v2/team/app/manifests/v1`);
  const url = `/v2/team/app/blobs/${digest}`;
  await pull(`${holder.url}${url}`);
  const [fooled, agent] = await Promise.all([
    agentWith(t, origin, [liar.multiaddr]),
    agentWith(t, origin, [multiaddrOf(holder)]),
  ]);
  await origin.close();

  // The manifest tells the size, so that the blob itself is asked for.
  t.equal((await pull(`${agent.url}/v2/team/app/manifests/${image.digest}`)).status, 200);
  t.ok((await pull(`${agent.url}${url}`)).bytes.equals(small));
  t.equal(await agent.metric('shoal_mirror_bytes_total', { source: 'origin' }), 0);
  t.equal(await agent.metric('shoal_swarm_payload_bytes_total', { direction: 'in' }), 0, 'by one question');
  t.equal((await pull(`${fooled.url}/v2/team/app/manifests/${image.digest}`)).status, 200);
  t.equal((await pull(`${fooled.url}${url}`)).status, 503);
  t.equal(await fooled.metric('shoal_discovery_lies_total', { what: 'blob' }), 1);
});

t.test('wrong metainfo, with bytes that fit it', async (t) => {
  const origin = await originHere(t);
  const bytes = someBytes(2 * MIB);
  const digest = sha256DigestOf(bytes);
  const garbage = wrongMetainfo(digest, bytes.length);
  const liar = await liarHere(t, {
    garbage: [garbage],
    answer: (question) =>
      question === `metainfo ${digest}` ? encodeMetainfo(garbage.metainfo) : Buffer.from('yes'),
  });
  // Answers, and is on no record: the DHT names the liar alone.
  const holder = await agentHere(t, [origin.url], {
    discovery: { dht: false, mdns: undefined, bootstrap: [] },
  });
  const agent = await agentWith(t, origin, [liar.multiaddr, multiaddrOf(holder)]);
  await pushBlob(origin.url, 'team/app', bytes);
  await pull(`${holder.url}/v2/team/app/blobs/${digest}`);
  await until(async () => (await holder.metric('shoal_cache_blobs')) === 1);
  await until(() => liar.overlay.searchable);
  await liar.overlay.provide(providerKey(digest), AbortSignal.timeout(5_000));
  await origin.close();

  const right = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
  t.equal(right.status, 200);
  t.equal(`sha256:${right.sha256}`, digest, 'the next search of the same pull hears an honest member');
  t.equal(await agent.metric('shoal_discovery_lies_total', { what: 'metainfo' }), 1);
});

t.test('two offers of metainfo, one of which is proved', async (t) => {
  const origin = await originHere(t);
  // Metainfo is gathered for a moment only: on a busy machine the liar may be heard too late once, not each time.
  const blobs = Array.from({ length: 5 }, () => someBytes(MIB));
  const garbage = blobs.map((bytes) => wrongMetainfo(sha256DigestOf(bytes), MIB));
  const offers = new Map(
    garbage.map(({ metainfo }) => [`metainfo ${metainfo.digest}`, encodeMetainfo(metainfo)]),
  );
  const liar = await liarHere(t, { garbage, answer: (question) => offers.get(question) });
  const unlisted = { dht: false, mdns: undefined };
  const holders = await Promise.all(
    [1, 2].map(() => agentHere(t, [origin.url], { discovery: { ...unlisted, bootstrap: [] } })),
  );
  for (const bytes of blobs) await pushBlob(origin.url, 'team/app', bytes);
  for (const holder of holders) {
    for (const bytes of blobs) await pull(`${holder.url}/v2/team/app/blobs/${sha256DigestOf(bytes)}`);
    await until(async () => (await holder.metric('shoal_cache_blobs')) === blobs.length);
  }
  // Without a DHT all that are known are asked at once.
  const agent = await agentHere(t, [origin.url], {
    discovery: { ...unlisted, bootstrap: [liar.multiaddr, ...holders.map(multiaddrOf)] },
  });
  await untilStatus(agent, ({ members }) => members === 3);
  await origin.close();

  const lies = (): Promise<number> => agent.metric('shoal_discovery_lies_total', { what: 'metainfo' });
  for (const bytes of blobs) {
    const digest = sha256DigestOf(bytes);
    const right = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    t.equal(`sha256:${right.sha256}`, digest, 'the offer of most members is right');
    if ((await lies()) > 0) break;
  }
  t.equal(await lies(), 1, 'who offered the other lied');
  const asked = liar.questions.length;
  for (const bytes of blobs) await pull(`${agent.url}/v2/team/app/blobs/${sha256DigestOf(bytes)}`);
  t.equal(liar.questions.length, asked, 'the liar is not asked again');
});

t.test('wrong metainfo, with bytes that fit it, and nobody who knows better', async (t) => {
  const origin = await originHere(t);
  const digest = sha256DigestOf(someBytes(100));
  const garbage = wrongMetainfo(digest, MIB);
  const liar = await liarHere(t, { garbage: [garbage], answer: () => encodeMetainfo(garbage.metainfo) });
  const agent = await agentWith(t, origin, [liar.multiaddr]);
  await origin.close();
  const refused = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
  t.equal(refused.status, 503, 'of a wrong blob nobody gets a byte');
  t.equal(await agent.metric('shoal_discovery_lies_total', { what: 'metainfo' }), 1);
  t.equal(await agent.metric('shoal_cache_blobs'), 0);
  const asked = liar.questions.length;
  t.equal((await pull(`${agent.url}/v2/team/app/blobs/${digest}`)).status, 503);
  t.equal(liar.questions.length, asked, 'the liar is not asked again');
});

t.test('metainfo that is none, or of another blob', async (t) => {
  const origin = await originHere(t);
  const other = wrongMetainfo(sha256DigestOf(someBytes(10)), MIB).metainfo;
  const agents: { agent: TestAgent; digest: Digest }[] = [];
  for (const answer of [Buffer.from('d4:infode'), encodeMetainfo(other)]) {
    const liar = await liarHere(t, { answer: () => answer });
    const agent = await agentWith(t, origin, [liar.multiaddr]);
    const digest = sha256DigestOf(someBytes(100));
    agents.push({ agent, digest });
  }
  await origin.close();
  for (const { agent, digest } of agents) {
    t.equal((await pull(`${agent.url}/v2/team/app/blobs/${digest}`)).status, 503);
    t.equal(await agent.metric('shoal_discovery_lies_total', { what: 'metainfo' }), 1);
  }
});

t.test('provider records of what it does not have', async (t) => {
  const origin = await originHere(t);
  const holder = await agentWith(t, origin, []);
  const agent = await agentWith(t, origin, [multiaddrOf(holder)]);
  const liar = await liarHere(t, { bootstrap: [holder, agent], answer: () => undefined });
  const digests: Digest[] = [];
  for (let count = 0; count < 9; count += 1) {
    const digest = await pushBlob(origin.url, 'team/app', someBytes(300_000));
    await pull(`${holder.url}/v2/team/app/blobs/${digest}`);
    digests.push(digest);
  }
  await until(async () => (await holder.metric('shoal_cache_blobs')) === digests.length);
  await until(() => liar.overlay.searchable);
  for (const digest of digests) await liar.overlay.provide(providerKey(digest), AbortSignal.timeout(5_000));
  await origin.close();
  for (const digest of digests) {
    const blob = await pull(`${agent.url}/v2/team/app/blobs/${digest}`);
    t.equal(`sha256:${blob.sha256}`, digest);
  }
  t.equal(await agent.metric('shoal_discovery_lies_total', { what: 'provider' }), 1);
  t.ok(liar.questions.filter((question) => question.startsWith('metainfo')).length >= 8);
});

t.test('headers before the proof, and never a byte', async (t) => {
  const origin = await originHere(t);
  const layer = someBytes(2 * MIB);
  const image = await pushImage(origin.url, 'team/app', 'v1', [layer]);
  const digest = sha256DigestOf(layer);
  const garbage = wrongMetainfo(digest, layer.length);
  const liar = await liarHere(t, {
    garbage: [garbage],
    answer(question) {
      if (question === `manifest ${image.digest}`) return image.manifest;
      return question === `metainfo ${digest}` ? encodeMetainfo(garbage.metainfo) : undefined;
    },
  });
  const holder = await agentWith(t, origin, []);
  const [right, wrong] = await Promise.all([
    agentWith(t, origin, [multiaddrOf(holder)], 0),
    agentWith(t, origin, [liar.multiaddr], 0),
  ]);
  await pull(`${holder.url}/v2/team/app/manifests/v1`);
  await pull(`${holder.url}/v2/team/app/blobs/${digest}`);
  await until(async () => (await holder.metric('shoal_cache_blobs')) > 0);
  await origin.close();

  for (const agent of [right, wrong]) {
    t.equal((await pull(`${agent.url}/v2/team/app/manifests/${image.digest}`)).status, 200);
  }
  const headers = { range: 'bytes=1000000-' };
  const part = await fetch(`${right.url}/v2/team/app/blobs/${digest}`, { headers });
  t.equal(part.status, 206);
  t.ok(Buffer.from(await part.arrayBuffer()).equals(layer.subarray(1_000_000)));

  const cut = await fetch(`${wrong.url}/v2/team/app/blobs/${digest}`);
  t.equal(cut.status, 200);
  t.equal(cut.headers.get('content-length'), String(layer.length));
  let received = 0;
  await t.rejects(async () => {
    for await (const chunk of cut.body ?? []) received += chunk.length;
  });
  t.equal(received, 0);
  t.equal((await pull(`${wrong.url}/v2/team/app/blobs/${digest}`)).status, 503);
  t.equal(await wrong.metric('shoal_discovery_lies_total', { what: 'metainfo' }), 1);
});
