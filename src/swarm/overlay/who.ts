/**
 * Provider records, asked for directly. In a cluster where a member knows nearly all others, those closest to a key that it knows
 * are those that keep its records: one short question finds what a walk of the DHT finds with a question to eight members, each
 * of which names eight others. Only when they name nobody is the DHT walked.
 *
 *     who HEX                    the key's name in the DHT
 *     MULTIADDR\n…               where providers are reached, at most MAX_NAMED
 */
import { createHash } from 'node:crypto';
import { formatMultiaddr, parseMultiaddr } from '#multiaddr';
import type { NodeAddress } from '../transport/libp2p/index.ts';
import type { Kad } from './kad.ts';

const QUESTION = /^who ([0-9a-f]{64})$/;
/** Members that are asked: one of them may be out. */
const ASKED = 2;
/** The walk begins after this. Long for one question, but a busy machine does not get better by more of them. */
const PATIENCE_MS = 1_500;
const MAX_NAMED = 16;
const MAX_ANSWER_BYTES = 8_192;

/**
 * What a key is called in the DHT: a hash of what it stands for, in hex. Who keeps the record of a blob does not learn its digest
 * from it, and so cannot ask for the blob.
 */
export function nameOf(key: string): string {
  return createHash('sha256').update(`shoal ${key}`).digest('hex');
}

type WhereIs = (peerId: string) => NodeAddress | undefined;

export const isWho = (question: string): boolean => question.startsWith('who ');

/** Undefined: nobody is on record here. */
export async function answerWho(
  question: string,
  { kad, whereIs }: { readonly kad: Kad | undefined; readonly whereIs: WhereIs },
): Promise<Uint8Array | undefined> {
  const name = QUESTION.exec(question)?.[1];
  if (kad === undefined || name === undefined) return undefined;
  const named = providersAt(await kad.recorded(name), whereIs);
  return named.length === 0 ? undefined : Buffer.from(named.map(formatMultiaddr).join('\n'));
}

/** Those that are on record here, or else at the closest members that we know; none when these name nobody in good time. */
export async function askWho(
  key: string,
  options: {
    readonly kad: Kad;
    readonly whereIs: WhereIs;
    readonly ask: (
      member: string,
      question: string,
      patience: { readonly maxBytes: number; readonly signal: AbortSignal },
    ) => Promise<Buffer | undefined>;
    readonly signal: AbortSignal;
  },
): Promise<readonly NodeAddress[]> {
  const { kad, whereIs, ask } = options;
  const name = nameOf(key);
  const here = providersAt(await kad.recorded(name), whereIs);
  if (here.length > 0) return here;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(PATIENCE_MS)]);
  const asked = kad.closest(key, ASKED).map(async (member) => {
    const answer = await ask(member, `who ${name}`, { maxBytes: MAX_ANSWER_BYTES, signal });
    const named = answer === undefined ? [] : addressesIn(answer);
    if (named.length === 0) throw new Error('it names nobody');
    return named;
  });
  return Promise.any(asked).catch(() => []);
}

/** Of more than are told, any. */
function providersAt(peerIds: readonly string[], whereIs: WhereIs): NodeAddress[] {
  const all = peerIds.flatMap((peerId) => whereIs(peerId) ?? []);
  const from = all.length <= MAX_NAMED ? 0 : Math.floor(Math.random() * all.length);
  return [...all.slice(from), ...all.slice(0, from)].slice(0, MAX_NAMED);
}

function addressesIn(answer: Buffer): NodeAddress[] {
  return answer
    .toString('utf8')
    .split('\n', MAX_NAMED)
    .flatMap((line) => {
      const { host, port, peerId } = parseMultiaddr(line) ?? {};
      return host === undefined || port === undefined || peerId === undefined ? [] : { host, port, peerId };
    });
}
