/** A blob that still arrives at its origin is exchanged meanwhile, by its draft. */
import t, { type Test } from 'tap';
import type { SeedStore, Swarm, SwarmDownload } from '#swarm';
import { createDraft, type GrowingDraft, pieceCount, pieceHash, pieceSize } from '#torrent';
import {
  type MemoryStore,
  makeBlob,
  makeSwarm,
  memoryStore,
  type TestBlob,
  type TestSwarm,
  until,
} from '../support/swarm.ts';

const MIB = 1024 ** 2;

/** The origin of a blob that comes piece by piece: a store that grows, and the draft whose hashes it tells. */
interface Source {
  readonly draft: GrowingDraft['draft'];
  readonly store: SeedStore;
  readonly held: number;
  /** The next piece has come. */
  grow(): void;
}

function sourceOf(blob: TestBlob): Source {
  const growing = draftOf(blob);
  const listeners = new Set<(piece: number) => void>();
  let held = 0;
  return {
    draft: growing.draft,
    get held() {
      return held;
    },
    store: {
      has: (piece) => piece < held,
      async read(position, into) {
        blob.bytes.copy(into, 0, position, position + into.length);
      },
      async write() {},
      onPiece(listener) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
      async close() {},
    },
    grow() {
      const piece = held++;
      growing.add(pieceHash(blob.metainfo, piece));
      for (const listener of listeners) listener(piece);
    },
  };
}

function draftOf({ metainfo }: TestBlob): GrowingDraft {
  return createDraft({ digest: metainfo.digest, length: metainfo.length });
}

/** An agent that learns each hash when `tell` says so. */
interface Agent {
  readonly swarm: TestSwarm;
  readonly download: SwarmDownload;
  readonly store: MemoryStore;
  tell(upTo: number): void;
}

async function agentOf(
  t: Test,
  blob: TestBlob,
  members: readonly (Swarm | TestSwarm)[],
  store = memoryStore(blob),
): Promise<Agent> {
  const swarm = await makeSwarm(t);
  const growing = draftOf(blob);
  const download = swarm.download({ metainfo: growing.draft, store });
  download.completed.catch(() => undefined);
  download.addPeers(
    members.map((member, index) => ({ ...addressOf(member), role: index === 0 ? 'origin' : 'agent' })),
  );
  download.discovered();
  return {
    swarm,
    download,
    store,
    tell(upTo) {
      const { known } = growing.draft.growth;
      if (upTo > known) growing.add(blob.metainfo.pieces.subarray(20 * known, 20 * upTo));
    },
  };
}

function addressOf({ address }: Swarm): { host: string; port: number } {
  if (address === undefined) throw new Error('does not listen');
  return address;
}

async function originOf(t: Test, source: Source): Promise<TestSwarm> {
  return makeSwarm(t, { lookup: async () => ({ metainfo: source.draft, store: source.store }) });
}

t.test('four agents have a growing blob soon after its source, which sends it about once', async (t) => {
  const blob = makeBlob(16 * MIB);
  const source = sourceOf(blob);
  const origin = await originOf(t, source);
  const agents: Agent[] = [];
  for (let index = 0; index < 4; index += 1) {
    agents.push(await agentOf(t, blob, [origin, ...agents.map(({ swarm }) => swarm)]));
  }
  const count = pieceCount(blob.metainfo);
  for (let piece = 0; piece < count; piece += 1) {
    source.grow();
    for (const agent of agents) agent.tell(piece + 1);
    // As fast as they take it, never far ahead of them.
    await until(() => agents.every(({ store }) => store.written.length >= piece - 8));
  }
  await Promise.all(agents.map(({ download }) => download.completed));
  for (const { store, swarm } of agents) {
    t.ok(store.bytes.equals(blob.bytes));
    t.same(swarm.heard.rejected, []);
  }
  const sent = origin.heard.outTo.agent / blob.bytes.length;
  // About once on a machine that keeps up.
  t.ok(sent < 3, `the origin sent ${sent.toFixed(2)} blobs`);
  t.ok(sent >= 1);
});

t.test('a piece is not asked for before its hash is known, whoever has it', async (t) => {
  const blob = makeBlob(2 * MIB);
  const source = sourceOf(blob);
  const count = pieceCount(blob.metainfo);
  for (let piece = 0; piece < count; piece += 1) source.grow();
  const origin = await originOf(t, source);
  // One that has everything and tells so at once, as our own kind of seed never does.
  const seed = await agentOf(t, blob, [origin], memoryStore(blob, 'all'));
  seed.tell(count);
  const agent = await agentOf(t, blob, [origin, seed.swarm]);
  await until(() => agent.download.stats().connectedPeers === 2);
  agent.tell(3);
  await until(() => agent.store.written.length === 3);
  t.same(new Set(agent.store.written.map(({ piece }) => piece)), new Set([0, 1, 2]));
  t.equal(await agent.download.offer(4, blob.bytes.subarray(4 * 262_144, 5 * 262_144), 'origin-http'), false);
  agent.tell(count);
  await agent.download.completed;
  t.ok(agent.store.bytes.equals(blob.bytes));
  t.same(agent.swarm.heard.rejected, []);
});

t.test('an agent that begins late and one that is behind with the hashes lose nothing', async (t) => {
  const blob = makeBlob(4 * MIB);
  const source = sourceOf(blob);
  const origin = await originOf(t, source);
  const count = pieceCount(blob.metainfo);
  const early = await agentOf(t, blob, [origin]);
  for (let piece = 0; piece < count / 2; piece += 1) source.grow();
  early.tell(source.held);
  await until(() => early.store.written.length === source.held);
  const late = await agentOf(t, blob, [origin, early.swarm]);
  for (let piece = count / 2; piece < count; piece += 1) source.grow();
  early.tell(count);
  await early.download.completed;
  early.download.seedFrom(memoryStore(blob, 'all'));
  for (let piece = 0; piece < count; piece += 1) late.tell(piece + 1);
  await late.download.completed;
  t.ok(late.store.bytes.equals(blob.bytes));
  t.ok(early.store.bytes.equals(blob.bytes));
});

t.test('a member that sends wrong bytes for a draft is found out', async (t) => {
  const blob = makeBlob(2 * MIB);
  const source = sourceOf(blob);
  const origin = await originOf(t, source);
  const count = pieceCount(blob.metainfo);
  const wrong = memoryStore(blob, 'all');
  wrong.bytes.fill(7);
  const liar = await agentOf(t, blob, [origin], wrong);
  liar.tell(count);
  const agent = await agentOf(t, blob, [origin, liar.swarm]);
  agent.tell(4);
  // Nobody else has these pieces yet.
  await until(() => agent.swarm.heard.rejected.length > 0);
  for (let piece = 0; piece < count; piece += 1) source.grow();
  agent.tell(count);
  await agent.download.completed;
  t.ok(agent.store.bytes.equals(blob.bytes));
});

t.test('a seed whose bytes stop coming serves what it has', async (t) => {
  const blob = makeBlob(2 * MIB);
  const source = sourceOf(blob);
  const origin = await originOf(t, source);
  for (let piece = 0; piece < 5; piece += 1) source.grow();
  const agents = [await agentOf(t, blob, [origin])];
  agents.push(await agentOf(t, blob, [origin, ...agents.map(({ swarm }) => swarm)]));
  for (const agent of agents) agent.tell(5);
  await until(() => agents.every(({ store }) => store.written.length === 5));
  await origin.release(source.draft.infoHash);
  for (const { download, store } of agents) {
    await download.close();
    t.equal(store.written.length, 5);
    for (const { piece } of store.written) {
      const at = piece * blob.metainfo.pieceLength;
      t.ok(
        store.bytes
          .subarray(at, at + pieceSize(blob.metainfo, piece))
          .equals(blob.bytes.subarray(at, at + pieceSize(blob.metainfo, piece))),
      );
    }
  }
});

t.test('what a store has of an earlier run is not fetched again', async (t) => {
  const blob = makeBlob(2 * MIB);
  const source = sourceOf(blob);
  const count = pieceCount(blob.metainfo);
  for (let piece = 0; piece < count; piece += 1) source.grow();
  const origin = await originOf(t, source);
  const store = memoryStore(blob);
  const earlier = memoryStore(blob, 'all');
  const rechecked: number[] = [];
  const agent = await agentOf(t, blob, [origin], {
    ...store,
    has: (piece) => store.has(piece),
    async recheck(piece) {
      rechecked.push(piece);
      if (piece % 2 === 1) return undefined;
      const { pieceLength } = blob.metainfo;
      await store.write(
        piece,
        earlier.bytes.subarray(piece * pieceLength, (piece + 1) * pieceLength),
        'peer',
      );
      return 'peer';
    },
  });
  const told: number[] = [];
  agent.download.onPiece((piece) => told.push(piece));
  agent.tell(3);
  agent.tell(count);
  await agent.download.completed;
  t.same(rechecked, [...Array(count).keys()]);
  t.equal(new Set(told).size, count);
  t.ok(store.bytes.equals(blob.bytes));
  t.equal(agent.swarm.heard.inFrom.origin, blob.bytes.length / 2);
});
