/**
 * The body of an HTTP tracker's answer (BEP 3, 7, 23). Trackers in the field do not sort their keys: any order
 * is taken. The number of peers is bounded, and each value that is used is checked.
 */
import { type Bencoded, BencodeError, decodeBencodeLoosely } from '#bencode';
import type { PeerAddress } from '#swarm';
import { type Answer, intervalMs, MAX_PEERS, toPeer } from './announce.ts';

export class TrackerAnswerError extends Error {}

/** Strings are views of the body, which is a Buffer. */
const isBytes = (value: Bencoded | undefined): value is Buffer => Buffer.isBuffer(value);

/** @throws TrackerAnswerError with the tracker's own reason, or with what is wrong with its answer */
export function parseAnswer(body: Buffer, ownPeerId: string): Answer {
  const answer = decode(body);
  if (!(answer instanceof Map)) throw new TrackerAnswerError('the answer is not a dictionary');
  const reason = answer.get('failure reason');
  if (isBytes(reason)) throw new TrackerAnswerError(reason.toString('utf8', 0, 300));
  const listed = answer.get('peers');
  const peers = isBytes(listed) ? unpack(listed, 6) : describedPeers(listed, ownPeerId);
  const listed6 = answer.get('peers6');
  const peers6 = isBytes(listed6) ? unpack(listed6, 18) : [];
  return { intervalMs: intervalMs(answer.get('interval')), peers: [...peers, ...peers6].slice(0, MAX_PEERS) };
}

function describedPeers(list: Bencoded | undefined, ownPeerId: string): PeerAddress[] {
  if (!Array.isArray(list)) return [];
  return (list as readonly Bencoded[]).slice(0, MAX_PEERS).flatMap((entry) => {
    if (!(entry instanceof Map)) return [];
    const [host, peerId] = [entry.get('ip'), entry.get('peer id')];
    if (!isBytes(host)) return [];
    if (isBytes(peerId) && peerId.toString('hex') === ownPeerId) return [];
    const more = { zone: shortText(entry.get('zone')), multiaddr: shortText(entry.get('peer')) };
    return toPeer(host.toString('latin1'), entry.get('port'), more) ?? [];
  });
}

function shortText(value: Bencoded | undefined): string | undefined {
  return isBytes(value) && value.length < 512 ? value.toString('utf8') : undefined;
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

function decode(body: Buffer): Bencoded {
  try {
    return decodeBencodeLoosely(body);
  } catch (error) {
    if (!(error instanceof BencodeError)) throw error;
    throw new TrackerAnswerError(`the answer is not bencoded: ${error.message}`);
  }
}
