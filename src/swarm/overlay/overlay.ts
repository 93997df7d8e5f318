/**
 * The overlay on one libp2p node: its book of members, the questions they ask each other, and behind these the DHT and
 * mDNS, which are loaded only when they are switched on, and after everything else has started.
 *
 * A member is met by a greeting: each says where it is reached. Only who was met enters the DHT's table.
 */
import { lookup } from 'node:dns/promises';
import type { Logger } from '#telemetry';
import type { PeerAddress } from '../port.ts';
import type { Connection } from '../transport/index.ts';
import { type Libp2pNode, type NodeAddress, released } from '../transport/libp2p/index.ts';
import { nodeAddress, ownAddresses, toMultiaddr } from './addresses.ts';
import { createBook } from './book.ts';
import { readFrame, writeFrame } from './frames.ts';
import type { Kad } from './kad.ts';
import type { Lan } from './lan.ts';
import type { Overlay, OverlayOptions } from './port.ts';
import { answerWho, askWho, isWho } from './who.ts';

/** Questions of members to each other, and the greeting. */
const ASK_PROTOCOL = '/shoal/metainfo/1.0.0';

const DIAL_DEADLINE_MS = 3_000;
const GREETING_DEADLINE_MS = 3_000;
const QUESTION_DEADLINE_MS = 10_000;
/** How long an answer may take to be sent. */
const SEND_DEADLINE_MS = 30_000;
const MAX_QUESTION_BYTES = 4_096;
const MAX_GREETING_BYTES = 8_192;
const MAX_STREAMS = 32;
/**
 * Answers that are made or sent at the same time, over all members, and what of them may wait to be sent. One member may have what a
 * whole cluster looks for at once, and on busy machines it is a while until an answer is taken.
 */
const MAX_ANSWERS = 512;
const MAX_UNSENT_BYTES = 32 * 1024 * 1024;
/** While fewer members than this were met, those that are introduced are greeted. */
const ENOUGH_MEMBERS = 20;
const GREETINGS_AT_ONCE = 4;
/** With so many in its table a member finds its way to all others. */
const ENOUGH_IN_TABLE = 8;
/**
 * After a member was met while few are in the table of the DHT, it is asked for others: members that start at the same time
 * may not be ready to answer the first time, and the library would ask again after minutes.
 */
const LOOK_AFTER_MS = [300, 2_000, 10_000];
const LOOK_DEADLINE_MS = 5_000;
/** Addresses of one name that are tried. */
const MAX_RESOLVED = 16;

const GREETING = 'hello';
const YES = Buffer.from('y');
const NO = Buffer.from('n');

export async function createOverlay(options: {
  readonly node: Libp2pNode;
  readonly overlay: OverlayOptions;
  readonly ban: (peerId: string) => void;
  readonly log: Logger;
}): Promise<Overlay & { close(): Promise<void> }> {
  const { node, ban, log } = options;
  const { answer, dht, mdns, advertise } = options.overlay;
  const { peerId } = node;
  const book = createBook(peerId);
  const stopping = new AbortController();
  const waiting = new Set<string>();
  let greeting = 0;
  let met = 0;
  let answering = 0;
  let unsentBytes = 0;
  let kad: Kad | undefined;
  let lan: Lan | undefined;

  let looks: NodeJS.Timeout[] = [];

  const own = (): NodeAddress[] => ownAddresses({ listen: node.address, advertise, peerId });
  const greetingText = (): string => [GREETING, ...own().map((at) => toMultiaddr(at).toString())].join('\n');

  function metMember(member: string, text: string): void {
    const addresses = text
      .split('\n')
      .slice(1, 9)
      .flatMap((line) => nodeAddress(line, member) ?? []);
    if (addresses.length === 0) return;
    if (!book.met(member)) met += 1;
    book.learn(member, addresses, true);
  }

  function meet(member: string): void {
    if (kad === undefined) return;
    kad.meet(member);
    if (kad.table >= ENOUGH_IN_TABLE || stopping.signal.aborted) return;
    for (const timer of looks) clearTimeout(timer);
    looks = LOOK_AFTER_MS.map((ms) => setTimeout(() => void look(), ms).unref());
  }

  async function look(): Promise<void> {
    if (kad === undefined || kad.table === 0 || kad.table >= ENOUGH_IN_TABLE) return;
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(LOOK_DEADLINE_MS)]);
    await kad
      .look(signal)
      .catch((error: unknown) => log.debug({ err: error }, 'other members were not learnt'));
  }

  async function accept(connection: Connection): Promise<void> {
    const { memberId } = connection;
    const isBusy = answering >= MAX_ANSWERS || unsentBytes >= MAX_UNSENT_BYTES;
    if (memberId === undefined || isBusy) return connection.close('busy');
    answering += 1;
    let bytes = 0;
    try {
      const until = AbortSignal.any([stopping.signal, AbortSignal.timeout(QUESTION_DEADLINE_MS)]);
      const question = (await readFrame(connection, MAX_QUESTION_BYTES, until)).toString('utf8');
      const greeted = question.split('\n', 1)[0] === GREETING;
      const found = await answerTo(question, memberId, greeted);
      bytes = found?.length ?? 0;
      unsentBytes += bytes;
      if (found === undefined) writeFrame(connection, NO);
      else writeFrame(connection, YES, found);
      if (greeted) {
        metMember(memberId, question);
        meet(memberId);
      }
      await sent(connection);
    } catch (error) {
      log.debug({ peer: memberId, err: error }, 'a question was not answered');
      connection.close('not a question');
    } finally {
      answering -= 1;
      unsentBytes -= bytes;
    }
  }

  async function answerTo(
    question: string,
    memberId: string,
    greeted: boolean,
  ): Promise<Uint8Array | undefined> {
    if (greeted) return Buffer.from(greetingText());
    return isWho(question) ? answerWho(question, { kad, whereIs }) : answer(question, memberId);
  }

  const whereIs = (member: string): NodeAddress | undefined =>
    (member === peerId ? own() : book.addressesOf(member))[0];

  /** Who asked closes the stream when it has all. */
  function sent(connection: Connection): Promise<void> {
    return new Promise((resolve) => {
      const late = setTimeout(() => connection.close('the answer was not read'), SEND_DEADLINE_MS);
      late.unref();
      connection.onClosed(() => {
        clearTimeout(late);
        resolve();
      });
    });
  }

  async function exchange(
    member: string,
    question: string,
    patience: { readonly maxBytes: number; readonly signal: AbortSignal },
  ): Promise<Buffer | undefined> {
    const signal = AbortSignal.any([stopping.signal, patience.signal]);
    const deadline = { deadlineMs: DIAL_DEADLINE_MS, signal };
    const opened = await node
      .open(member, book.addressesOf(member), ASK_PROTOCOL, deadline)
      .catch((error) => {
        if (!signal.aborted) book.failed(member);
        throw error;
      });
    const stream = released(opened);
    try {
      writeFrame(stream, Buffer.from(question));
      const frame = await readFrame(stream, patience.maxBytes + 1, signal);
      if (frame[0] !== YES[0]) return undefined;
      return frame.subarray(1);
    } finally {
      stream.close('asked');
    }
  }

  async function greet(member: string, signal?: AbortSignal): Promise<void> {
    const deadline = AbortSignal.timeout(GREETING_DEADLINE_MS);
    const until = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
    const text = await exchange(member, greetingText(), { maxBytes: MAX_GREETING_BYTES, signal: until });
    if (text === undefined) throw new Error('it does not greet');
    metMember(member, text.toString('utf8'));
  }

  /** Greets those who wait for it, a few at a time, until enough members were met. */
  function greetNext(): void {
    for (const member of waiting) {
      if (greeting >= GREETINGS_AT_ONCE || stopping.signal.aborted) return;
      waiting.delete(member);
      if (met >= ENOUGH_MEMBERS || book.met(member)) continue;
      greeting += 1;
      greet(member)
        .then(() => meet(member))
        .catch((error: unknown) => {
          log.debug({ peer: member, err: error }, 'a member was not met');
          book.forget(member);
        })
        .finally(() => {
          greeting -= 1;
          greetNext();
        });
    }
  }

  function learn(member: string, addresses: readonly NodeAddress[]): void {
    if (member === peerId) return;
    book.learn(member, addresses, false);
    if (met >= ENOUGH_MEMBERS || book.met(member) || waiting.size >= ENOUGH_MEMBERS) return;
    waiting.add(member);
    greetNext();
  }

  const toPeer = ({ host, port, peerId: name }: NodeAddress): PeerAddress => ({
    host,
    port,
    libp2p: { port, peerId: name },
  });

  await node.handle(ASK_PROTOCOL, (connection) => void accept(connection), MAX_STREAMS);

  async function load(): Promise<void> {
    const { parts } = node;
    if (dht) {
      const { startKad } = await import('./kad.ts');
      kad = await startKad({
        parts,
        book,
        own,
        openStream: (peer, protocol, { signal } = {}) =>
          node.open(
            String(peer),
            book.addressesOf(String(peer)),
            Array.isArray(protocol) ? String(protocol[0]) : String(protocol),
            { deadlineMs: DIAL_DEADLINE_MS, signal: signal ?? stopping.signal },
          ),
        greet,
      });
      for (const { peerId: member } of book.latest()) if (book.met(member)) meet(member);
    }
    if (mdns !== undefined) {
      const { startLan } = await import('./lan.ts');
      lan = await startLan({ parts, port: mdns.port, own, onMember: learn });
    }
  }
  const loaded = load().catch((error: unknown) =>
    log.error({ err: error }, 'members cannot be found without a tracker'),
  );

  return {
    introduce(members) {
      for (const { host, libp2p } of members) {
        if (libp2p !== undefined) learn(libp2p.peerId, [{ host, port: libp2p.port, peerId: libp2p.peerId }]);
      }
    },
    async introduceHost(host, port) {
      const resolved = await lookup(host, { all: true }).catch((error: unknown) => {
        log.warn({ host, err: error }, 'a name to begin with is not known');
        return [];
      });
      const patience = { deadlineMs: DIAL_DEADLINE_MS, signal: stopping.signal };
      const found = resolved.slice(0, MAX_RESOLVED).map(async ({ address }) => {
        const member = await node.find(address, port, patience);
        learn(member, [{ host: address, port, peerId: member }]);
      });
      await Promise.allSettled(found);
    },
    members: () =>
      book.latest().flatMap(({ addresses: [first] }) => (first === undefined ? [] : toPeer(first))),
    get searchable() {
      return (kad?.table ?? 0) > 0;
    },
    async provide(key, signal) {
      try {
        return (await kad?.provide(key, signal)) ?? 0;
      } catch (error) {
        log.debug({ err: error }, 'a provider record was not told');
        return 0;
      }
    },
    async withdraw(key) {
      await kad?.withdraw(key).catch(() => undefined);
    },
    async *providers(key, signal) {
      // The library would wait for a first member.
      if (kad === undefined || kad.table === 0) return;
      try {
        const near = await askWho(key, { kad, whereIs, ask: exchange, signal });
        for (const at of near) {
          if (at.peerId === peerId) continue;
          book.learn(at.peerId, [at], false);
          yield toPeer(at);
        }
        if (near.length > 0) return;
        for await (const member of kad.providers(key, signal)) {
          const [first] = book.addressesOf(member);
          if (first !== undefined) yield toPeer(first);
        }
      } catch (error) {
        if (!signal.aborted) log.debug({ err: error }, 'providers were not found');
      }
    },
    listen: () => lan?.ask(),
    ask(member, question, patience) {
      const { host, libp2p } = member;
      if (libp2p === undefined) return Promise.reject(new Error('not a member of libp2p'));
      book.learn(libp2p.peerId, [{ host, port: libp2p.port, peerId: libp2p.peerId }], false);
      return exchange(libp2p.peerId, question, patience);
    },
    ban(member) {
      book.forget(member);
      ban(member);
    },
    status: () => ({ members: book.size, met, table: kad?.table ?? 0, records: kad?.records ?? 0 }),
    async close() {
      stopping.abort();
      for (const timer of looks) clearTimeout(timer);
      await loaded;
      await lan?.close();
      await kad?.close();
    },
  };
}
