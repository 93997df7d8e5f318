/**
 * Memberships on libp2p: right after Noise, which has proved who is at the other end, the two sides show each
 * other that they belong to the cluster, on a stream of a protocol of its own. Who dialled speaks first, and
 * is answered only when its membership counts. Nothing else is served or opened on the connection before.
 *
 *     /shoal/member/1.0.0:  length (2 bytes, big-endian) | membership       each way, once
 *
 * What was shown ends: before that either side asks again, and the connection is closed when nothing newer is
 * shown, or when the member is revoked.
 */
import type { Connection as Libp2pConnection, Stream } from '@libp2p/interface';
import type { SwarmMembership } from '../../port.ts';
import type { Connection } from '../connection.ts';

export const MEMBER_PROTOCOL = '/shoal/member/1.0.0';

const MAX_CREDENTIAL_BYTES = 4_096;
const DEADLINE_MS = 5_000;
/** Asked again at this part of what is left, until so little is left that the end is waited for. */
const ASK_AGAIN_AT = 0.8;
const SHORT_MS = 1_000;
const MAX_TIMER_MS = 24 * 3_600_000;

export interface Memberships {
  /** A connection is there, or is about to be used: begins what must happen on it. */
  met(connection: Libp2pConnection): void;
  /** Whether the other side may open streams now. Resolves when it may; rejects, and the connection is closed, when it may not. */
  admitted(connection: Libp2pConnection): Promise<void>;
  /** The other side shows its membership, and is shown ours. */
  serve(stream: Connection, connection: Libp2pConnection): Promise<void>;
}

interface Entry {
  readonly admitted: PromiseWithResolvers<void>;
  /** Until when the other side's membership counts; 0: it has shown none. */
  until: number;
  timer: NodeJS.Timeout | undefined;
}

export function createMemberships(options: {
  readonly membership: SwarmMembership;
  readonly open: (connection: Libp2pConnection, signal: AbortSignal) => Promise<Stream>;
  readonly release: (stream: Stream) => Connection;
  readonly connections: () => readonly Libp2pConnection[];
}): Memberships {
  const { membership } = options;
  const entries = new WeakMap<Libp2pConnection, Entry>();

  const end = (connection: Libp2pConnection, entry: Entry, reason: string): void => {
    clearTimeout(entry.timer);
    const error = new Error(reason);
    entry.admitted.reject(error);
    if (connection.status !== 'open') return;
    membership.refused(connection.remotePeer.toString(), reason);
    connection.abort(error);
  };

  const later = (connection: Libp2pConnection, entry: Entry, ms: number, run: () => void): void => {
    clearTimeout(entry.timer);
    if (connection.status === 'open') entry.timer = setTimeout(run, Math.min(ms, MAX_TIMER_MS)).unref();
  };

  /** What was shown counts until `until`: watched from now on. */
  const admit = (connection: Libp2pConnection, entry: Entry, until: number): void => {
    entry.until = Math.max(entry.until, until);
    entry.admitted.resolve();
    watch(connection, entry);
  };
  const watch = (connection: Libp2pConnection, entry: Entry): void => {
    const left = entry.until - Date.now();
    later(connection, entry, left > SHORT_MS ? left * ASK_AGAIN_AT : Math.max(0, left), () => {
      if (entry.until <= Date.now()) return end(connection, entry, 'its membership has run out');
      const before = entry.until;
      introduce(connection, entry).catch(() => {
        // It may have nothing newer yet, or we: what was shown counts to its end.
        if (entry.until === before) watch(connection, entry);
      });
    });
  };

  const check = async (connection: Libp2pConnection, text: string): Promise<number> => {
    const { peerId, expiresAt } = await membership.check(text);
    if (connection.remotePeer.toString() !== peerId) throw new Error('the membership is of another peer');
    return expiresAt;
  };

  const ours = (): string => {
    const credential = membership.credential();
    if (credential === undefined) throw new Error('we are no member of the cluster now');
    return credential;
  };

  async function introduce(connection: Libp2pConnection, entry: Entry): Promise<void> {
    const credential = ours();
    const stream = options.release(await options.open(connection, AbortSignal.timeout(DEADLINE_MS)));
    try {
      stream.write([frame(credential)]);
      admit(connection, entry, await check(connection, await readFrame(stream)));
    } finally {
      stream.close('said');
    }
  }

  const entryOf = (connection: Libp2pConnection): Entry => {
    const known = entries.get(connection);
    if (known !== undefined) return known;
    const entry: Entry = { admitted: Promise.withResolvers(), until: 0, timer: undefined };
    entry.admitted.promise.catch(() => undefined);
    entries.set(connection, entry);
    connection.addEventListener('close', () => {
      clearTimeout(entry.timer);
      entry.admitted.reject(new Error('the connection was closed'));
    });
    const late = (): void => end(connection, entry, 'it showed no membership in time');
    later(connection, entry, DEADLINE_MS, late);
    if (connection.direction === 'outbound') {
      introduce(connection, entry).catch((error: unknown) => end(connection, entry, wordsOf(error)));
    }
    return entry;
  };

  membership.onRevoked((peerId) => {
    for (const connection of options.connections()) {
      if (connection.remotePeer.toString() === peerId) end(connection, entryOf(connection), 'it was revoked');
    }
  });

  return {
    met: (connection) => void entryOf(connection),
    async admitted(connection) {
      const entry = entryOf(connection);
      // Who dialled us waits for our answer before it opens anything; it does not make us hold its streams.
      if (connection.direction === 'inbound' && entry.until === 0) {
        end(connection, entry, 'it opened a stream before it showed a membership');
      }
      await entry.admitted.promise;
    },
    async serve(stream, connection) {
      const entry = entryOf(connection);
      try {
        const until = await check(connection, await readFrame(stream));
        const credential = ours();
        // Before the answer, which the other side takes as leave to open streams.
        admit(connection, entry, until);
        stream.write([frame(credential)]);
        // It closes when it has read the answer.
        const late = setTimeout(() => stream.close('not closed in time'), DEADLINE_MS).unref();
        stream.onClosed(() => clearTimeout(late));
        stream.attach({ data: () => stream.close('said all'), closed: () => undefined });
      } catch (error) {
        stream.close(wordsOf(error));
        if (entry.until <= Date.now()) end(connection, entry, wordsOf(error));
      }
    },
  };
}

function frame(credential: string): Buffer {
  const text = Buffer.from(credential, 'utf8');
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length);
  return Buffer.concat([length, text]);
}

/** One frame, within a deadline. What comes behind it ends the stream. */
function readFrame(stream: Connection): Promise<string> {
  return new Promise((resolve, reject) => {
    let bytes: Buffer = Buffer.alloc(0);
    const fail = (reason: string): void => {
      clearTimeout(late);
      reject(new Error(reason));
    };
    const late = setTimeout(() => fail('it showed no membership in time'), DEADLINE_MS);
    stream.attach({
      closed: () => fail('it closed the stream: it takes us for no member'),
      data(chunk) {
        bytes = Buffer.concat([bytes, chunk]);
        const length = bytes.length < 2 ? 0 : bytes.readUInt16BE();
        if (length > MAX_CREDENTIAL_BYTES || bytes.length > MAX_CREDENTIAL_BYTES + 2) {
          fail('what it showed is too long for a membership');
        } else if (bytes.length >= 2 && bytes.length >= length + 2) {
          clearTimeout(late);
          stream.pause();
          resolve(bytes.toString('utf8', 2, length + 2));
        }
      },
    });
  });
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
