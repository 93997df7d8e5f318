/**
 * The body of an HTTP tracker's answer (BEP 3, 7, 23). Trackers in the field do not sort their keys,
 * so this reader takes any order, unlike the one for metainfo; depth and count are bounded, and each
 * value that is used is checked.
 */
import type { PeerAddress } from '#swarm';
import { type Answer, intervalMs, MAX_PEERS, toPeer } from './announce.ts';

export class TrackerAnswerError extends Error {}

type Value = number | Buffer | readonly Value[] | ReadonlyMap<string, Value>;

const MAX_DEPTH = 8;

/** @throws TrackerAnswerError with the tracker's own reason, or with what is wrong with its answer */
export function parseAnswer(body: Buffer, ownPeerId: string): Answer {
  const answer = decode(body);
  if (!(answer instanceof Map)) throw new TrackerAnswerError('the answer is not a dictionary');
  const reason = answer.get('failure reason');
  if (Buffer.isBuffer(reason)) throw new TrackerAnswerError(reason.toString('utf8', 0, 300));
  const listed = answer.get('peers');
  const peers = Buffer.isBuffer(listed) ? unpack(listed, 6) : describedPeers(listed, ownPeerId);
  const listed6 = answer.get('peers6');
  const peers6 = Buffer.isBuffer(listed6) ? unpack(listed6, 18) : [];
  return { intervalMs: intervalMs(answer.get('interval')), peers: [...peers, ...peers6].slice(0, MAX_PEERS) };
}

function describedPeers(list: Value | undefined, ownPeerId: string): PeerAddress[] {
  if (!Array.isArray(list)) return [];
  return (list as readonly Value[]).slice(0, MAX_PEERS).flatMap((entry) => {
    if (!(entry instanceof Map)) return [];
    const [host, peerId] = [entry.get('ip'), entry.get('peer id')];
    if (!Buffer.isBuffer(host)) return [];
    if (Buffer.isBuffer(peerId) && peerId.toString('hex') === ownPeerId) return [];
    const more = { zone: shortText(entry.get('zone')), multiaddr: shortText(entry.get('peer')) };
    return toPeer(host.toString('latin1'), entry.get('port'), more) ?? [];
  });
}

function shortText(value: Value | undefined): string | undefined {
  return Buffer.isBuffer(value) && value.length < 512 ? value.toString('utf8') : undefined;
}

/** Addresses of 6 or 18 bytes; a rest that is no whole address is left out. */
function unpack(bytes: Buffer, size: 6 | 18): PeerAddress[] {
  const peers: PeerAddress[] = [];
  for (let at = 0; at + size <= bytes.length && peers.length < MAX_PEERS; at += size) {
    const ip = bytes.subarray(at, at + size - 2);
    const host =
      size === 6
        ? ip.join('.')
        : Array.from({ length: 8 }, (_, group) => ip.readUInt16BE(group * 2).toString(16)).join(':');
    const peer = toPeer(host, bytes.readUInt16BE(at + size - 2));
    if (peer) peers.push(peer);
  }
  return peers;
}

function decode(bytes: Buffer): Value {
  let at = 0;
  const fail = (what: string): never => {
    throw new TrackerAnswerError(`the answer is not bencoded: ${what} at byte ${at}`);
  };
  const number = (end: string): number => {
    const stop = bytes.indexOf(end, at);
    const text = stop === -1 || stop - at > 20 ? '' : bytes.toString('latin1', at, stop);
    if (!/^-?\d+$/.test(text)) fail('not a number');
    at = stop + 1;
    return Number(text);
  };
  const string = (): Buffer => {
    const length = number(':');
    if (length < 0 || length > bytes.length - at) fail('not a string');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const ends = (): boolean => {
    if (at >= bytes.length) fail('cut off');
    if (bytes[at] !== 0x65) return false;
    at += 1;
    return true;
  };
  const value = (depth: number): Value => {
    if (depth > MAX_DEPTH) fail('nested too deep');
    const type = String.fromCharCode(bytes[at] ?? 0);
    if (type !== 'i' && type !== 'l' && type !== 'd') return string();
    at += 1;
    if (type === 'i') return number('e');
    if (type === 'l') {
      const list: Value[] = [];
      while (!ends()) list.push(value(depth + 1));
      return list;
    }
    const dictionary = new Map<string, Value>();
    while (!ends()) dictionary.set(string().toString('latin1'), value(depth + 1));
    return dictionary;
  };
  return value(0);
}
